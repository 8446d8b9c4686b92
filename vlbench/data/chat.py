"""Batches of questions about pictures for a chat backbone: picture files in, padded rows out.

Shapes: B batch, L tokens, T answer tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vlbench.backbones.chat_rows import Conversation, Row
from vlbench.data.batches import Batch, TaskData
from vlbench.data.example import Example
from vlbench.data.images import open_image
from vlbench.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class ChatBatch(Batch):
    """Examples of one task as a processor made them; kept apart too, so that parts can be made."""

    task: str
    ids: tuple[str, ...]
    tensors: dict[str, Tensor]
    """What the model reads: (B, L) of the text, and pictures as its kind of model has them."""
    labels: Tensor  # (B, L): the answer's tokens where they stand, else -100
    target_ids: Tensor
    scores: Tensor
    rows: tuple[Row, ...]
    conversation: Conversation

    @classmethod
    def of(
        cls,
        conversation: Conversation,
        task: str,
        ids: tuple[str, ...],
        rows: Sequence[Row],
        scores: Tensor,
    ) -> ChatBatch:
        """The batch of these rows: for an answer to be learnt, or written where they have none."""
        collated = conversation.collate(rows)
        return cls(task, ids, *collated, scores, tuple(rows), conversation)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> ChatBatch:
        return replace(
            self,
            tensors={name: change(tensor) for name, tensor in self.tensors.items()},
            labels=change(self.labels),
            target_ids=change(self.target_ids),
            scores=change(self.scores),
        )

    def not_finite(self) -> list[str]:
        return [
            name
            for name, row in zip(self.ids, self.rows, strict=True)
            if not all(tensor.isfinite().all() for tensor in row.pixels.values())
        ]

    def part(self, which: slice) -> ChatBatch:
        """Some of its examples, padded anew: rows of pictures are not rows of examples."""
        ids, rows, scores = self.ids[which], self.rows[which], self.scores[which]
        part = ChatBatch.of(self.conversation, self.task, ids, rows, scores)
        return part.to(self.scores.device)


@dataclass(eq=False)
class ChatData(TaskData):
    """Examples whose pictures are files, with the conversation of a chat backbone."""

    pictures: Mapping[str, Path]
    """Image id -> its file."""
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
        ids = tuple(example.id for example in examples)
        return ChatBatch.of(self.conversation, self.card.name, ids, rows, torch.tensor(scores))

    def _row(self, example: Example, answer: str | None) -> Row:
        if len(example.images) != self.card.images_per_example:
            expected = f"images_per_example = {self.card.images_per_example}"
            found = f"example {example.id} has {len(example.images)} pictures"
            raise DataError(f"Task '{self.card.name}': {found}, its card says {expected}.")
        pictures = [open_image(self.pictures[image]) for image in example.images]
        target = None if answer is None else self._target(answer)
        row = self.conversation.row(self._cut(self.text(example)), pictures, target)
        if self.settings.blind:
            row = row._replace(pixels={name: _blank(value) for name, value in row.pixels.items()})
        return row

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
