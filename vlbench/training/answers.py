"""Evaluation: a trained model's answers as text, generated or chosen."""

from __future__ import annotations

from typing import Any

import torch

from vlbench.backbones.tokens import first_tokens
from vlbench.data.batches import Batch, TaskData
from vlbench.techniques.adapt import AdaptedModel

BATCH_SIZE = 256


@torch.inference_mode()
def answers(model: AdaptedModel, task: TaskData, device: torch.device) -> dict[str, str]:
    """Example id -> the model's answer, for every example once."""
    was_training = model.training
    model.eval()
    found: dict[str, str] = {}
    for batch in task.in_order(max(1, BATCH_SIZE // task.card.beams)):
        texts = _answer(model, task, batch.to(device))
        found.update(zip(batch.ids, texts, strict=True))
    model.train(was_training)
    return found


def _answer(model: AdaptedModel, task: TaskData, batch: Batch) -> list[str]:
    card, tokenizer = task.card, task.tokenizer
    if card.choices:
        # argmax takes the first of equal logits: a tie is the first choice, as the authors have it
        logits = model.choice_logits(batch, first_tokens(tokenizer, card.choices))
        return [card.choices[i] for i in logits.argmax(dim=-1).tolist()]
    rows = model.generate(batch, beams=card.beams, max_length=card.max_length)
    return _texts(tokenizer, rows)


def _texts(tokenizer: Any, rows: list[list[int]]) -> list[str]:
    decoded: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [text.strip() for text in decoded]
