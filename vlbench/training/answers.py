"""Evaluation: a trained model's answers as text, generated or chosen."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Any

import torch

from vlbench.backbones.tokens import first_tokens
from vlbench.data.batches import Batch, TaskData
from vlbench.data.prefetch import prefetched
from vlbench.errors import RunFailed
from vlbench.techniques.adapt import AdaptedModel
from vlbench.training.ranks import ALONE, Ranks

BATCH_SIZE = 256


@torch.inference_mode()
def answers(
    model: AdaptedModel, task: TaskData, device: torch.device, ranks: Ranks = ALONE
) -> dict[str, str]:
    """Example id -> the model's answer, for every example once, on every rank.

    Examples with texts of one length share a batch, the longest first. The ranks share whole
    batches, the same as one process has, so that padding is the same and no answer depends on
    their number.
    """
    batches = prefetched(task.longest_first(max(1, BATCH_SIZE // task.card.beams), ranks.share))
    with model.answering(task.card.name):
        mine = [(batch.ids, _answer(model, task, batch.to(device))) for batch in batches]
    turns = [turn for turn in chain(*zip_longest(*ranks.gather(mine))) if turn is not None]
    found = {name: text for ids, texts in turns for name, text in zip(ids, texts, strict=True)}
    given = sum(len(ids) for ids, _ in turns)
    if not len(found) == given == len(task):
        raise RunFailed(
            f"{task.card.name}: {given:,} answers to {len(found):,} different ids of "
            f"{len(task):,} examples."
        )
    return {example.id: found[example.id] for example in task.examples}


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
