"""Evaluation: a trained model's answers as text, generated or chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch

from vlbench.cards.schema import TaskCard
from vlbench.data.batches import Batch, TaskData, prefetched_for
from vlbench.errors import DataError, RunFailed
from vlbench.techniques.adapt import AdaptedModel
from vlbench.training.distributed import ALONE, Ranks
from vlbench.training.train import MicroBatches


@torch.inference_mode()
def answers(
    model: AdaptedModel,
    task: TaskData,
    device: torch.device,
    ranks: Ranks = ALONE,
    micro_batches: MicroBatches | None = None,
) -> dict[str, str]:
    """Return the answer to every example by id, on every rank.

    Texts of one length share a batch, the longest first. The ranks share whole batches, so that
    padding, and with it every answer, does not depend on their number.
    """
    card, tokenizer, micro_batches = task.card, task.tokenizer, micro_batches or MicroBatches()
    answer = partial(answer_batches, model, card, task.first_tokens())
    batches = task.longest_first(max(1, task.answered_at_once // card.beams), ranks.share)
    with model.answering(card.name):
        rows = [
            (batch.ids, micro_batches.compute(answer, batch.to(device)))
            for batch in prefetched_for(device, batches)
        ]
    # Only now: while batches are made that thread sets the tokenizer's truncation.
    own = [(ids, _texts(tokenizer, card, tokens)) for ids, tokens in rows]
    gathered = [pair for of_rank in ranks.gather(own) for pair in of_rank]
    by_id = {name: text for ids, texts in gathered for name, text in zip(ids, texts, strict=True)}
    if len(by_id) != len(task):
        text = f"{len(by_id):,} different ids of {len(task):,} examples are answered"
        raise RunFailed(f"{card.name}: {text}.")
    return {example.id: by_id[example.id] for example in task.examples}


def answer_batches(
    model: AdaptedModel, card: TaskCard, first: Sequence[int], batches: Iterable[Batch]
) -> list[list[int]]:
    """Return the tokens of each example's answer, or the index of its choice, alone in a list."""
    rows: list[list[int]] = []
    for batch in batches:
        if ids := batch.not_finite():
            raise DataError(f"{batch.task}: the features of {ids[0]} are not finite numbers.")
        if card.choices:  # argmax takes the first of equal logits, as the authors have it
            rows += model.choice_logits(batch, first).argmax(dim=-1, keepdim=True).tolist()
        else:
            rows += model.generate(batch, beams=card.beams, max_length=card.max_length)
    return rows


def _texts(tokenizer: Any, card: TaskCard, rows: Sequence[list[int]]) -> list[str]:
    if card.choices:
        return [card.choices[index] for (index,) in rows]
    decoded: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [text.strip() for text in decoded]
