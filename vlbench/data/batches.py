"""Batches of one task each, in the order of an epoch; texts and stored features for a backbone.

Shapes: B batch, L text tokens, I images of an example, N tokens of an image, F feature width,
T target tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlbench.backbones.base import IGNORED
from vlbench.backbones.weights import first_tokens
from vlbench.cards.schema import TaskCard, TrainSettings
from vlbench.data.example import Example
from vlbench.data.stores.base import Store
from vlbench.data.table import ExampleTable
from vlbench.errors import DataError

WHOLE = slice(None)  # the share of one process alone: all examples of a batch
WINDOW = 50  # batches whose examples are sorted by length together: an epoch stays random
AHEAD = 3  # batches that wait or are being made, at most
Indices = NDArray[np.int64]
T = TypeVar("T")


class Batch(ABC):
    """Examples of one task, ready for a backbone."""

    task: str
    ids: tuple[str, ...]
    target_ids: Tensor  # (B, T), -100 where there is nothing to predict
    scores: Tensor  # (B,): the sampled answer's score

    def to(self, device: torch.device) -> Self:
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))

    @abstractmethod
    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same batch with each of its tensors changed."""

    @abstractmethod
    def not_finite(self) -> list[str]:
        """The examples whose pictures hold NaN or infinity."""

    @abstractmethod
    def part(self, which: slice) -> Self:
        """Some of its examples."""


@dataclass(frozen=True, slots=True)
class FeatureBatch(Batch):
    """Examples of one task with features of their pictures."""

    task: str
    ids: tuple[str, ...]
    input_ids: Tensor  # (B, L), padded; of fewer rows where `inputs` says so
    features: Tensor  # (B, I, N, F), in the store's numbers: half the bytes on their way to a GPU
    target_ids: Tensor
    scores: Tensor
    inputs: Tensor | None = None
    """(B,): which of fewer rows of `input_ids` and `features` each example has; None: its own."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> FeatureBatch:
        tensors: dict[str, Any] = {
            name: change(getattr(self, name))
            for name in ("input_ids", "features", "target_ids", "scores", "inputs")
            if getattr(self, name) is not None
        }
        return replace(self, **tensors)

    def not_finite(self) -> list[str]:
        is_finite = self.features.isfinite().flatten(1).all(1)
        is_finite = is_finite if self.inputs is None else is_finite[self.inputs]
        return [name for name, fine in zip(self.ids, is_finite.tolist(), strict=True) if not fine]

    def part(self, which: slice) -> FeatureBatch:
        rows, inputs = which, None
        if self.inputs is not None:
            rows, inputs = torch.unique(self.inputs[which], return_inverse=True)
        read = self.input_ids[rows], self.features[rows]
        written = self.target_ids[which], self.scores[which]
        return FeatureBatch(self.task, self.ids[which], *read, *written, inputs)


@dataclass(eq=False)
class TaskData(ABC):
    """The examples of one task and split, with what makes batches of them."""

    answered_at_once: ClassVar[int] = 256
    """Questions of a batch that is answered, with one beam."""

    card: TaskCard
    examples: Sequence[Example]
    tokenizer: Any
    settings: TrainSettings
    positions: int | None = field(default=None, kw_only=True)
    """Tokens that the backbone has positions for: longer texts are cut; None: any number."""

    def __post_init__(self) -> None:
        self.batch_size = self.card.batch_size(self.settings.batch_size)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def batches(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return -(-len(self.examples) // self.batch_size)

    def epoch(
        self, random: np.random.Generator, skip: int = 0, share: slice = WHOLE
    ) -> Iterator[Batch]:
        """Every example once, in random order, with one sampled answer.

        The first `skip` batches are left out, but their answers are drawn, so that the others are
        those of a whole epoch; `share` selects examples of every batch.
        """
        if self.settings.order == "lengths":
            order = by_length(self._lengths, self.batch_size, random)
        elif self.settings.order == "pictures":
            order = by_group([example.images for example in self.examples], random)
        else:
            order = random.permutation(len(self.examples))  # as in the authors' code
        for number, start in enumerate(range(0, len(order), self.batch_size)):
            examples = self._take(order[start : start + self.batch_size])
            answers = [sample_answer(e.targets, random) for e in examples]
            if number >= skip:
                yield self.batch(examples[share], answers[share])

    @cached_property
    def _lengths(self) -> Indices:
        """(examples,): lengths of the texts in characters, which need no tokenizer."""
        return np.array([len(e.context) + len(e.text) for e in self.examples], dtype=np.int64)

    def _take(self, indices: Indices) -> list[Example]:
        """The examples with these indices; a table gives many at once sooner than one by one."""
        if isinstance(self.examples, ExampleTable):
            return list(self.examples.take(indices))
        return [self.examples[index] for index in indices]

    def longest_first(self, batch_size: int, share: slice = WHOLE) -> Iterator[Batch]:
        """Every example once, the longest texts first, without targets; or a share of the batches.

        A batch that does not fit into memory fails at once.
        """
        order = np.argsort(-self._lengths, kind="stable")
        for start in range(0, len(order), batch_size)[share]:
            yield self.batch(self._take(order[start : start + batch_size]), None)

    def text(self, example: Example) -> str:
        """Context and text with the task's prompt, where the method trains with prompts."""
        whole = self._joined(example.context, example)
        longest = self._longest(self.card.max_input_tokens)
        if self.settings.truncate == "end" or not example.context or longest is None:
            return whole
        encoded = self.tokenizer(whole, return_offsets_mapping=True)
        excess = len(encoded["input_ids"]) - longest
        if excess <= 0:
            return whole
        start = whole.index(example.context)
        end = start + len(example.context)
        inside = [first for first, stop in encoded["offset_mapping"] if start < stop <= end]
        kept = inside[max(0, len(inside) - excess)] if inside else start
        return self._joined(whole[start : max(start, kept)].rstrip(), example)

    def _joined(self, context: str, example: Example) -> str:
        text, prompt = " ".join(filter(None, (context, example.text))), self.card.prompt
        if not self.settings.task_prompts:
            return text
        return f"{text} {prompt}" if self.card.prompt_position == "end" else prompt + text

    def _longest(self, longest: int | None) -> int | None:
        """The fewest tokens of what card and backbone allow; None: any number."""
        return min((n for n in (longest, self.positions) if n is not None), default=None)

    @abstractmethod
    def batch(
        self, examples: Sequence[Example], answers: Sequence[tuple[str, float]] | None
    ) -> Batch:
        """The batch of these examples; without answers the targets are empty, (B, 0)."""

    @abstractmethod
    def rendered(self, example: Example) -> str:
        """What the model reads of an example besides its pictures, special tokens included."""

    @abstractmethod
    def rendered_target(self, answer: str) -> str:
        """What the model learns to write of an answer, special tokens included."""

    @abstractmethod
    def first_tokens(self) -> list[int]:
        """The first token of each of the task's choices, by which they differ."""


@dataclass(eq=False)
class FeatureData(TaskData):
    """Examples whose pictures' features are in a store."""

    store: Store

    def first_tokens(self) -> list[int]:
        return first_tokens(self.tokenizer, self.card.choices)

    def rendered(self, example: Example) -> str:
        return self._cut(self.text(example), self.card.max_input_tokens)

    def rendered_target(self, answer: str) -> str:
        return self._cut(answer, self.card.max_target_tokens)

    def _cut(self, text: str, longest: int | None) -> str:
        """A text as its tokens say it, cut as in a batch."""
        (ids,) = self._tokens([text], longest, self.tokenizer.pad_token_id).tolist()
        return str(self.tokenizer.decode(ids))

    def batch(
        self, examples: Sequence[Example], answers: Sequence[tuple[str, float]] | None
    ) -> FeatureBatch:
        if not examples:  # a share of a batch with fewer examples than shares
            none = torch.empty(0, 0, dtype=torch.long)
            return FeatureBatch(
                self.card.name, (), none, torch.empty(0, 0, 0, 0), none, torch.empty(0)
            )
        texts = [self.text(example) for example in examples]
        rows: Sequence[int] = range(len(examples))
        inputs = None
        if self.settings.share_encoder:
            distinct: dict[Hashable, int] = {}
            keys = zip(texts, (example.images for example in examples), strict=True)
            numbers = [distinct.setdefault(key, len(distinct)) for key in keys]
            rows, inputs = np.unique(numbers, return_index=True)[1].tolist(), torch.tensor(numbers)
        images = [image for row in rows for image in examples[row].images]
        if len(images) != len(rows) * self.card.images_per_example:
            expected = f"images_per_example = {self.card.images_per_example}"
            counts = f"{len(images)} pictures in {len(rows)} examples"
            raise DataError(f"Task '{self.card.name}': {counts}, its card says {expected}.")
        features = torch.from_numpy(self.store.get(images))  # (rows I, N, F)
        if self.settings.blind:
            features = torch.zeros_like(features)
        target_ids = torch.empty(len(examples), 0, dtype=torch.long)
        scores = torch.ones(len(examples))
        if answers is not None:
            written = [text for text, _ in answers]
            target_ids = self._tokens(written, self.card.max_target_tokens, IGNORED)
            scores = torch.tensor([score for _, score in answers])
        read, padding = [texts[row] for row in rows], self.tokenizer.pad_token_id
        input_ids = self._tokens(read, self.card.max_input_tokens, padding)
        features = features.reshape(len(rows), -1, *features.shape[1:])
        ids = tuple(example.id for example in examples)
        return FeatureBatch(self.card.name, ids, input_ids, features, target_ids, scores, inputs)

    def _tokens(self, texts: Sequence[str], longest: int | None, padding: int) -> Tensor:
        """(texts, tokens of the longest), int64; the tokenizer's own padding is slower."""
        longest = self._longest(longest)
        cut = {"truncation": longest is not None, "max_length": longest}
        rows = self.tokenizer(list(texts), **cut, return_attention_mask=False)["input_ids"]
        columns = np.array(list(zip_longest(*rows, fillvalue=padding)), np.int64)
        return torch.from_numpy(np.ascontiguousarray(columns.reshape(-1, len(texts)).T))


def sample_answer(targets: Mapping[str, float], random: np.random.Generator) -> tuple[str, float]:
    """One answer in proportion to its score, with its score; ('', 0) where none has any."""
    total = sum(targets.values())
    if total <= 0:
        return "", 0.0
    answers = list(targets)
    weights = np.fromiter(targets.values(), float) / total
    answer = answers[random.choice(len(answers), p=weights) if len(answers) > 1 else 0]
    return answer, targets[answer]


def by_length(lengths: Indices, batch_size: int, random: np.random.Generator) -> Indices:
    """Indices with like lengths in one batch, in random order, the smaller batch last. (count,)."""
    order = random.permutation(len(lengths))
    parts: list[Indices] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = order[start : start + WINDOW * batch_size]
        window = window[np.argsort(lengths[window], kind="stable")]
        whole = len(window) - len(window) % batch_size
        batches = window[:whole].reshape(-1, batch_size)
        parts += [random.permutation(batches).reshape(-1), window[whole:]]
    return np.concatenate(parts) if parts else order


def by_group(keys: Sequence[Hashable], random: np.random.Generator) -> Indices:
    """Indices with one key side by side, in their own order, groups in random order. (count,)."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    members = list(groups.values())
    order = [index for number in random.permutation(len(members)) for index in members[number]]
    return np.array(order, dtype=np.int64)


def prefetched_for(device: torch.device, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Batches made ahead; a GPU copies them from page-locked memory while it computes."""
    if device.type == "cuda":
        return prefetched(batch.mapped(Tensor.pin_memory) for batch in batches)
    return prefetched(batches)


def prefetched(batches: Iterator[T], ahead: int = AHEAD) -> Iterator[T]:
    """The same batches in the same order, made in a thread; its errors are raised in their turn."""
    maker = ThreadPoolExecutor(1, "vlbench batches")
    try:
        pending = deque(maker.submit(next, batches, None) for _ in range(ahead))
        while (batch := pending.popleft().result()) is not None:
            pending.append(maker.submit(next, batches, None))
            yield batch
    finally:
        maker.shutdown(cancel_futures=True)
