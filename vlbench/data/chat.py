"""Batches of questions about pictures for a chat backbone: picture files in, padded rows out.

Shapes: B batch, L tokens of question and answer, T of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from vlbench.backbones.chat_rows import Collated, Conversation, Row, target_ids
from vlbench.data.batches import Batch, TaskData
from vlbench.data.example import Example
from vlbench.data.pictures import Pictures
from vlbench.errors import DataError, UsageError


@dataclass(eq=False)
class ChatBatch(Batch):
    """Examples of one task as a processor made them, padded when a model reads them.

    A large batch is read part by part: rows of pictures are not rows of examples, and only the
    parts are ever made whole.
    """

    task: str
    ids: tuple[str, ...]
    target_ids: Tensor
    scores: Tensor
    rows: tuple[Row, ...]
    conversation: Conversation

    @cached_property
    def _collated(self) -> Collated:
        return self.conversation.collate(self.rows).to(self.scores.device)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What the model reads, on the batch's device."""
        return self._collated.tensors

    @property
    def labels(self) -> Tensor:
        """(B, L): the answers' tokens where they stand, else -100."""
        return self._collated.labels

    def mapped(self, change: Callable[[Tensor], Tensor]) -> ChatBatch:
        """The same batch with targets and scores changed; the rest goes where the scores are."""
        return replace(self, target_ids=change(self.target_ids), scores=change(self.scores))

    def not_finite(self) -> list[str]:
        return [
            name
            for name, row in zip(self.ids, self.rows, strict=True)
            if not all(tensor.isfinite().all() for tensor in row.pixels.values())
        ]

    def part(self, which: slice) -> ChatBatch:
        written = self.target_ids[which], self.scores[which]
        return ChatBatch(self.task, self.ids[which], *written, self.rows[which], self.conversation)


@dataclass(eq=False)
class ChatData(TaskData):
    """Examples whose pictures are files, with the conversation of a chat backbone."""

    answered_at_once: ClassVar[int] = 32  # whose pictures, not their features, are in memory

    pictures: Pictures
    conversation: Conversation

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.settings.share_encoder:
            raise UsageError(
                "train.share_encoder: a chat backbone has no encoder whose states examples could "
                "share. Set train.share_encoder=false."
            )

    def first_tokens(self) -> list[int]:
        """As the choices stand behind the prompt."""
        choices = self.card.choices
        ids = [self.conversation.answer(choice)[0] for choice in choices]
        if len(set(ids)) < len(ids):
            raise UsageError(f"Choices {', '.join(choices)} do not differ in their first token.")
        return ids

    def batch(
        self, examples: Sequence[Example], answers: Sequence[tuple[str, float]] | None
    ) -> ChatBatch:
        written = [None] * len(examples) if answers is None else [text for text, _ in answers]
        rows = [self._row(*pair) for pair in zip(examples, written, strict=True)]
        scores = [1.0] * len(examples) if answers is None else [score for _, score in answers]
        ids, of = tuple(example.id for example in examples), self.conversation
        targets = target_ids(rows)
        return ChatBatch(self.card.name, ids, targets, torch.tensor(scores), tuple(rows), of)

    def _row(self, example: Example, answer: str | None) -> Row:
        if len(example.images) != self.card.images_per_example:
            expected = f"images_per_example = {self.card.images_per_example}"
            count = f"example {example.id} has {len(example.images)} pictures"
            raise DataError(f"Task '{self.card.name}': {count}, its card says {expected}.")
        pictures = [part for image in example.images for part in self.pictures.open(image)]
        target = None if answer is None else self._target(answer)
        row = self.conversation.row(self.text(example), pictures, target)
        if self.settings.blind:
            row = row._replace(pixels={name: _blank(value) for name, value in row.pixels.items()})
        return row

    def text(self, example: Example) -> str:
        """The card's question around the text, which alone is cut."""
        text = self._cut(super().text(example))
        return self.card.question.replace("{text}", text).strip() if self.card.question else text

    def rendered(self, example: Example) -> str:
        count = sum(len(self.pictures.files(image)) for image in example.images)
        return self.conversation.prompt(self.text(example), count)

    def rendered_target(self, answer: str) -> str:
        return str(self.tokenizer.decode(self._target(answer)))

    def _joined(self, context: str, example: Example) -> str:
        if not self.card.question:
            return super()._joined(context, example)
        return " ".join(filter(None, (context, example.text)))

    def _target(self, answer: str) -> tuple[int, ...]:
        """The answer's ids, cut in front of the end token where they are too many."""
        *ids, end = self.conversation.answer(answer)
        longest = self.card.max_target_tokens
        return (*ids[: None if longest is None else longest - 1], end)

    def _cut(self, text: str) -> str:
        """A text of no more than the card's tokens: pictures and template are never cut."""
        longest = self.card.max_input_tokens
        options = {"add_special_tokens": False, "return_offsets_mapping": True}
        if longest is None or len(text) <= longest:  # a token has one character or more
            return text
        ends = [end for _, end in self.tokenizer(text, **options)["offset_mapping"]]
        return text if len(ends) <= longest else text[: ends[longest - 1]]


def _blank(value: Tensor) -> Tensor:
    """Zeros in place of what a picture shows; counts and sizes stay."""
    return torch.zeros_like(value) if value.is_floating_point() else value
