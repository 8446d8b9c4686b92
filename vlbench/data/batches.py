"""Batches: texts to tokens, answers to targets, features from the store; one task per batch.

Shapes: B batch, L text tokens, I images of an example, N tokens of an image, F feature width,
T target tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlbench.backbones.base import IGNORED
from vlbench.cards.schema import TaskCard, TrainSettings
from vlbench.data.epoch_order import by_chance, by_group, by_length
from vlbench.data.example import Example
from vlbench.data.stores.base import Store
from vlbench.data.table import ExampleTable

WHOLE = slice(None)
"""The share of one process alone: everything."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples of one task, ready for a backbone."""

    task: str
    ids: tuple[str, ...]
    input_ids: Tensor
    """(B, L), padded; of fewer rows where `inputs` says so."""
    features: Tensor
    """(B, I, N, F), in the store's numbers: half the bytes on their way to a GPU."""
    target_ids: Tensor
    """(B, T), -100 where there is nothing to predict."""
    scores: Tensor
    """(B,): the sampled answer's score."""
    inputs: Tensor | None = None
    """(B,): which of fewer rows of `input_ids` and `features` each example has; None: its own."""

    def to(self, device: torch.device) -> Batch:
        """The same batch there."""
        return self._with_each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in page-locked memory, which a GPU copies from while it computes."""
        return self._with_each(Tensor.pin_memory)

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {
            name: change(getattr(self, name))
            for name in ("input_ids", "features", "target_ids", "scores", "inputs")
            if getattr(self, name) is not None
        }
        return replace(self, **changed)

    def not_finite(self) -> list[str]:
        """The examples whose features hold NaN or infinity."""
        rows = ~self.features.isfinite().flatten(1).all(1)
        is_faulty = rows if self.inputs is None else rows[self.inputs]
        return [name for name, each in zip(self.ids, is_faulty.tolist(), strict=True) if each]

    def part(self, which: slice) -> Batch:
        """Some of its examples."""
        rows: slice | Tensor = which
        inputs = self.inputs
        if inputs is not None:
            rows, inputs = torch.unique(inputs[which], return_inverse=True)
        return Batch(
            task=self.task,
            ids=self.ids[which],
            input_ids=self.input_ids[rows],
            features=self.features[rows],
            target_ids=self.target_ids[which],
            scores=self.scores[which],
            inputs=inputs,
        )


class TaskData:
    """The examples of one task and split, with what makes batches of them."""

    def __init__(
        self,
        card: TaskCard,
        examples: Sequence[Example],
        store: Store,
        tokenizer: Any,
        settings: TrainSettings,
        positions: int | None = None,
    ) -> None:
        self.card = card
        self.examples = examples
        self.store = store
        self.tokenizer = tokenizer
        self.settings = settings
        self.positions = positions
        """Tokens that the backbone has positions for: longer texts are cut; None: any number."""
        self.batch_size = card.batch_size(settings.batch_size)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def batches(self) -> int:
        """Batches an epoch has; the last one may be smaller."""
        return -(-len(self.examples) // self.batch_size)

    def epoch(
        self, random: np.random.Generator, skip: int = 0, share: slice = WHOLE
    ) -> Iterator[Batch]:
        """Every example once, in random order, each with one sampled answer.

        Without the first `skip` batches, whose answers are drawn all the same, and of each batch
        this share: the batches that come are those of a whole epoch.
        """
        order = self._order(random)
        for number, start in enumerate(range(0, len(order), self.batch_size)):
            examples = self._at(order[start : start + self.batch_size])
            answers = [sample_answer(e.targets, random) for e in examples]
            if number >= skip:
                yield self.batch(examples[share], answers[share])

    def _order(self, random: np.random.Generator) -> NDArray[np.int64]:
        """The places of all examples, as `train.order` has it."""
        if self.settings.order == "lengths":
            return by_length(self._lengths, self.batch_size, random)
        if self.settings.order == "pictures":
            return by_group(self._pictures, random)
        return by_chance(len(self.examples), random)

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        """(examples,): of the texts in characters.

        That is as good for little padding as tokens, and takes no tokenizer.
        """
        lengths = [len(example.context) + len(example.text) for example in self.examples]
        return np.array(lengths, dtype=np.int64)

    @cached_property
    def _pictures(self) -> list[tuple[str, ...]]:
        return [example.images for example in self.examples]

    def _at(self, places: NDArray[np.int64]) -> list[Example]:
        """The examples at these places; a table gives many at once sooner than one by one."""
        if isinstance(self.examples, ExampleTable):
            return list(self.examples.take(places))
        return [self.examples[place] for place in places]

    def longest_first(self, batch_size: int, share: slice = WHOLE) -> Iterator[Batch]:
        """Every example once, by the length of its text, without targets.

        Or this share of the batches. What does not fit into memory shows at once.
        """
        order = np.argsort(-self._lengths, kind="stable")
        for start in range(0, len(order), batch_size)[share]:
            yield self.batch(self._at(order[start : start + batch_size]), None)

    def batch(
        self, examples: Sequence[Example], answers: Sequence[tuple[str, float]] | None
    ) -> Batch:
        """The batch of these examples; without answers the targets are empty, (B, 0)."""
        if not examples:
            return self._empty()
        texts = [self.text(example) for example in examples]
        rows, inputs = self._rows(examples, texts)
        read = [texts[row] for row in rows]
        images = [image for row in rows for image in examples[row].images]
        features = torch.from_numpy(self.store.get(images))  # (rows I, N, F)
        if self.settings.blind:
            features = torch.zeros_like(features)
        if answers is None:
            target_ids = torch.empty(len(examples), 0, dtype=torch.long)
            scores = torch.ones(len(examples))
        else:
            written = [text for text, _ in answers]
            target_ids = self._tokens(written, self.card.max_target_tokens, IGNORED)
            scores = torch.tensor([score for _, score in answers])
        return Batch(
            task=self.card.name,
            ids=tuple(example.id for example in examples),
            input_ids=self._tokens(read, self.card.max_input_tokens, self.tokenizer.pad_token_id),
            features=features.reshape(len(rows), -1, *features.shape[1:]),
            target_ids=target_ids,
            scores=scores,
            inputs=inputs,
        )

    def _rows(
        self, examples: Sequence[Example], texts: Sequence[str]
    ) -> tuple[Sequence[int], Tensor | None]:
        """The examples whose inputs a batch holds, and which of these each example has."""
        if not self.settings.share_encoder:
            return range(len(examples)), None
        keys = [(text, example.images) for text, example in zip(texts, examples, strict=True)]
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        rows = sorted(first.values())
        places = {keys[row]: place for place, row in enumerate(rows)}
        return rows, torch.tensor([places[key] for key in keys])

    def _empty(self) -> Batch:
        """A share of a batch that has fewer examples than there are shares."""
        none = torch.empty(0, 0, dtype=torch.long)
        return Batch(self.card.name, (), none, torch.empty(0, 0, 0, 0), none, torch.empty(0))

    def text(self, example: Example) -> str:
        """Context and text with the task's prompt, where the method trains with prompts."""
        if self.settings.truncate == "end" or not example.context:
            return self._joined(example.context, example)
        return self._joined(self._fitting(example), example)

    def _joined(self, context: str, example: Example) -> str:
        text = " ".join(part for part in (context, example.text) if part)
        if not self.settings.task_prompts:
            return text
        if self.card.prompt_position == "end":
            return f"{text} {self.card.prompt}"
        return self.card.prompt + text

    def _fitting(self, example: Example) -> str:
        """So much of the context, from its beginning, as leaves room for text and prompt."""
        longest = self._longest(self.card.max_input_tokens)
        whole = self._joined(example.context, example)
        start = whole.index(example.context)
        end = start + len(example.context)
        found = self.tokenizer(whole, return_offsets_mapping=True)
        excess = 0 if longest is None else len(found["input_ids"]) - longest
        inside = [place for place, stop in found["offset_mapping"] if start < stop <= end]
        if excess <= 0:
            return example.context
        kept = inside[max(0, len(inside) - excess)] if inside else start
        return whole[start : max(start, kept)].rstrip()

    def _longest(self, longest: int | None) -> int | None:
        """The fewest tokens of what card and backbone allow; None: any number."""
        return min((n for n in (longest, self.positions) if n is not None), default=None)

    def _tokens(self, texts: Sequence[str], longest: int | None, padding: int) -> Tensor:
        """(texts, tokens of the longest), int64; the tokenizer's own padding is slower."""
        longest = self._longest(longest)
        rows = self.tokenizer(
            list(texts),
            truncation=longest is not None,
            max_length=longest,
            return_attention_mask=False,
        )["input_ids"]
        columns = np.array(list(zip_longest(*rows, fillvalue=padding)), np.int64)
        return torch.from_numpy(np.ascontiguousarray(columns.reshape(-1, len(texts)).T))


def sample_answer(targets: Mapping[str, float], random: np.random.Generator) -> tuple[str, float]:
    """One answer in proportion to its score, with its score; ('', 0) where none has any."""
    total = sum(targets.values())
    if total <= 0:
        return "", 0.0
    answers = list(targets)
    if len(answers) == 1:
        return answers[0], targets[answers[0]]
    chosen = random.choice(len(answers), p=np.fromiter(targets.values(), float) / total)
    return answers[chosen], targets[answers[chosen]]
