"""Evaluation: a trained model's answers as text, generated or chosen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache

from vlbench.backbones.tokens import first_tokens
from vlbench.cards.task import TaskCard
from vlbench.data.batches import Batch, TaskData, prefetched_for
from vlbench.errors import DataError, RunFailed
from vlbench.techniques.adapt import AdaptedModel
from vlbench.training.parts import Parts
from vlbench.training.ranks import ALONE, Ranks

BATCH_SIZE = 256


@torch.inference_mode()
def answers(
    model: AdaptedModel,
    task: TaskData,
    device: torch.device,
    ranks: Ranks = ALONE,
    parts: Parts | None = None,
) -> dict[str, str]:
    """Example id -> the model's answer, for every example once, on every rank.

    Examples with texts of one length share a batch, the longest first; `parts` says how many of
    them are computed at once, all where there is none. The ranks share whole batches, the same as
    one process has, so that padding is the same and no answer depends on their number.
    """
    card, tokenizer, parts = task.card, task.tokenizer, parts or Parts()
    first = first_tokens(tokenizer, card.choices)
    made = task.longest_first(max(1, BATCH_SIZE // card.beams), ranks.share)
    batches = prefetched_for(device, made)
    with model.answering(card.name):
        rows = [
            (batch.ids, _fitting(model, card, first, batch.to(device), parts)) for batch in batches
        ]
    # Only now: while batches are made the tokenizer is that thread's, which sets its truncation.
    mine = [(ids, _texts(tokenizer, card, each)) for ids, each in rows]
    turns = [turn for turn in chain(*zip_longest(*ranks.gather(mine))) if turn is not None]
    found = {name: text for ids, texts in turns for name, text in zip(ids, texts, strict=True)}
    given = sum(len(ids) for ids, _ in turns)
    if not len(found) == given == len(task):
        raise RunFailed(
            f"{task.card.name}: {given:,} answers to {len(found):,} different ids of "
            f"{len(task):,} examples."
        )
    return {example.id: found[example.id] for example in task.examples}


def _fitting(
    model: AdaptedModel, card: TaskCard, first: Sequence[int], batch: Batch, parts: Parts
) -> list[list[int]]:
    """What `_answer` gives, of smaller parts where memory runs out."""
    while True:
        try:
            return [row for part in parts.of(batch) for row in _answer(model, card, first, part)]
        except (RuntimeError, MemoryError) as error:
            if not parts.shrinks(error, len(batch.ids)):
                raise
        clear_device_cache(garbage_collection=True)  # only now: the error held what was computed


def _answer(
    model: AdaptedModel, card: TaskCard, first: Sequence[int], batch: Batch
) -> list[list[int]]:
    """For each example the tokens of its answer, or the place of its choice, alone in a list."""
    if ids := batch.not_finite():
        raise DataError(f"{batch.task}: the features of {ids[0]} are not finite numbers.")
    if card.choices:
        # argmax takes the first of equal logits: a tie is the first choice, as the authors have it
        logits = model.choice_logits(batch, first)
        places: list[list[int]] = logits.argmax(dim=-1, keepdim=True).tolist()
        return places
    return model.generate(batch, beams=card.beams, max_length=card.max_length)


def _texts(tokenizer: Any, card: TaskCard, answered: Sequence[list[int]]) -> list[str]:
    """What `_answer` gave, as texts."""
    if card.choices:
        return [card.choices[place] for (place,) in answered]
    decoded: list[str] = tokenizer.batch_decode(answered, skip_special_tokens=True)
    return [text.strip() for text in decoded]
