"""Questions and answers as a chat model's processor spells them, and batches of such rows.

An answer is not tokenised alone: what the template writes in front of it, a space or a line break,
decides its first token. It ends with the first special token that the template puts behind it.

Shapes: B batch, L tokens, T answer tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from vlbench.backbones.base import IGNORED
from vlbench.errors import UsageError

PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""What a processor returns of a text, a number for each token; all else is of pictures."""


class Row(NamedTuple):
    """A question about pictures, and the ids of an answer, if it has one."""

    tokens: dict[str, Tensor]
    """(L,) each."""
    pixels: dict[str, Tensor]
    """As the processor returns them for this row alone."""
    answer: tuple[int, ...] | None = None


class Collated(NamedTuple):
    """Rows of one batch, padded."""

    tensors: dict[str, Tensor]
    """What the model reads: (B, L) of the text, and pictures as its kind of model has them."""
    labels: Tensor
    """(B, L): answer tokens where they stand in `input_ids`, else -100."""

    def to(self, device: torch.device) -> Collated:
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return Collated(tensors, self.labels.to(device))


def target_ids(rows: Sequence[Row]) -> Tensor:
    """(B, T): the rows' answers, -100 behind."""
    answers = [torch.tensor(row.answer or (), dtype=torch.long) for row in rows]
    if not answers:
        return torch.empty(0, 0, dtype=torch.long)
    return pad_sequence(answers, batch_first=True, padding_value=IGNORED)


class Conversation:
    """A processor with its chat template."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        template = getattr(processor, "chat_template", None) or self.tokenizer.chat_template
        self.template = template["default"] if isinstance(template, dict) else template
        pad, eos = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        self.padding: int = eos if pad is None else pad
        # PaliGemma's processor alone takes answers, and marks them
        self.marks_answers = "suffix" in inspect.signature(processor.__call__).parameters
        self._answers: dict[str, tuple[int, ...]] = {}

    def __deepcopy__(self, memo: object) -> Conversation:
        return self  # copies of a model spell alike

    def prompt(self, text: str, pictures: int) -> str:
        """The question as the model reads it, with a placeholder for each picture in front."""
        if not self.template:
            return self._image_token * pictures + text
        return self._rendered([_turn("user", text, pictures)], add_generation_prompt=True)

    @property
    def _image_token(self) -> str:
        named = (getattr(part, "image_token", None) for part in (self.processor, self.tokenizer))
        return next((str(token) for token in named if token), "<image>")

    def _rendered(self, turns: list[dict[str, Any]], **options: Any) -> str:
        options = {"chat_template": self.template, "tokenize": False, **options}
        return str(self.tokenizer.apply_chat_template(turns, **options))

    def answer(self, text: str) -> tuple[int, ...]:
        """The ids of an answer behind a prompt, its end token included."""
        if text not in self._answers:
            self._answers[text] = self._answer(text)
        return self._answers[text]

    def _answer(self, text: str) -> tuple[int, ...]:
        if not self.template:
            return (*self._ids(text), self.tokenizer.eos_token_id)
        question = _turn("user", "?", 1)
        prompt = self._rendered([question], add_generation_prompt=True)
        whole = self._rendered([question, _turn("assistant", text, 0)])
        rest = whole.removeprefix(prompt)
        written = text if text in rest else text.strip()
        if rest == whole or written not in rest:
            raise UsageError(
                "The chat template does not write an answer behind the prompt that it gives for "
                f"one: {whole[:200]!r} does not go on {prompt[:200]!r} with {text!r}."
            )
        end = rest.index(written) + len(written)
        added = self.tokenizer.added_tokens_decoder
        behind = (i for i in self._ids(rest[end:]) if i in added and added[i].special)
        return (*self._ids(rest[:end]), next(behind, self.tokenizer.eos_token_id))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def row(self, text: str, pictures: Sequence[Any], answer: tuple[int, ...] | None = None) -> Row:
        """The row of a question about these pictures."""
        rendered = self.prompt(text, len(pictures))
        bos = self.tokenizer.bos_token
        has_bos = bool(self.template and bos and rendered.startswith(bos))
        processed = self.processor(
            images=[list(pictures)],
            text=[rendered],
            add_special_tokens=not has_bos,
            return_tensors="np",
        )
        tensors = {name: torch.as_tensor(value) for name, value in processed.items()}
        tokens = {name: tensors.pop(name)[0] for name in PER_TOKEN if name in tensors}
        tensors.pop("labels", None)
        return Row(tokens, tensors, answer)

    def collate(self, rows: Sequence[Row]) -> Collated:
        """One batch: questions alone are padded in front, as answers go on behind them.

        Image tensors grow in any dimension with their pictures: all but the first, which counts
        pictures or parts of them, are filled with zeros.
        """
        if not rows:  # a share of a batch with fewer rows than shares
            none = torch.empty(0, 0, dtype=torch.long)
            return Collated({}, none)
        answers = [row.answer or () for row in rows]
        to_answer = any(row.answer is None for row in rows)
        longest = max(len(row.tokens["input_ids"]) + len(row.answer or ()) for row in rows)

        def padded(values: Tensor, value: int) -> Tensor:
            missing = longest - len(values)
            return functional.pad(values, (missing, 0) if to_answer else (0, missing), value=value)

        columns: dict[str, list[Tensor]] = {}
        labels = []
        for row, answer in zip(rows, answers, strict=True):
            ids = torch.tensor(answer, dtype=torch.long)
            behind = {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "token_type_ids": torch.full_like(ids, int(self.marks_answers)),
                "mm_token_type_ids": torch.zeros_like(ids),
            }
            for name, values in row.tokens.items():
                filler = self.padding if name == "input_ids" else 0
                whole = torch.cat([values, behind[name].to(values)])
                columns.setdefault(name, []).append(padded(whole, filler))
            question = torch.full_like(row.tokens["input_ids"], IGNORED)
            labels.append(padded(torch.cat([question, ids]), IGNORED))
        tensors = {name: torch.stack(values) for name, values in columns.items()}
        for name in dict.fromkeys(name for row in rows for name in row.pixels):
            tensors[name] = _joined([row.pixels[name] for row in rows if name in row.pixels])
        return Collated(tensors, torch.stack(labels))


def _turn(role: str, text: str, pictures: int) -> dict[str, Any]:
    parts = [{"type": "image"}] * pictures + [{"type": "text", "text": text}]
    return {"role": role, "content": parts}


def _joined(tensors: list[Tensor]) -> Tensor:
    """Concatenate along the first dimension; the others are filled with zeros behind."""
    sizes = [max(tensor.shape[i] for tensor in tensors) for i in range(1, tensors[0].dim())]
    padded = []
    for tensor in tensors:
        missing = [size - own for size, own in zip(sizes, tensor.shape[1:], strict=True)]
        padded.append(functional.pad(tensor, [n for m in reversed(missing) for n in (0, m)]))
    return torch.cat(padded)
