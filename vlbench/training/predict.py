"""Evaluation: a trained model's answers as text, generated or chosen, and their probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from vlbench.cards.schema import TaskCard
from vlbench.data.batches import WHOLE, Batch, TaskData, prefetched_for
from vlbench.errors import DataError, RunFailed
from vlbench.techniques.adapt import AdaptedModel
from vlbench.training.distributed import ALONE, Ranks
from vlbench.training.train import MicroBatches, token_losses

Row = list[float] | list[int]
"""Of one example: the logits of the task's choices, or the tokens of its answer."""


class ScoredAnswer(NamedTuple):
    """An answer, and the probability of each candidate."""

    answer: str
    candidates: dict[str, float]


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
    rows = _answered(model, task, device, ranks.share, micro_batches)
    # Only now: while batches are made that thread sets the tokenizer's truncation.
    own = [(ids, _texts(task, of_batch)) for ids, of_batch in rows]
    gathered = [pair for of_rank in ranks.gather(own) for pair in of_rank]
    by_id = {name: text for ids, texts in gathered for name, text in zip(ids, texts, strict=True)}
    if len(by_id) != len(task):
        text = f"{len(by_id):,} different ids of {len(task):,} examples are answered"
        raise RunFailed(f"{task.card.name}: {text}.")
    return {example.id: by_id[example.id] for example in task.examples}


def scored_answers(
    model: AdaptedModel,
    task: TaskData,
    candidates: Mapping[str, Sequence[str]],
    device: torch.device,
    micro_batches: MicroBatches | None = None,
) -> dict[str, ScoredAnswer]:
    """Return the same answers, each with the probabilities of its candidates.

    Of a task with choices these are the choices, which share a probability of 1 as they are chosen:
    by their first tokens. Else they are the answer and the example's own `candidates`, each with
    the probability that the model writes exactly these tokens.
    """
    rows = _answered(model, task, device, WHOLE, micro_batches)
    texts = [text for _, of_batch in rows for text in _texts(task, of_batch)]
    names = [name for ids, _ in rows for name in ids]
    by_id = dict(zip(names, texts, strict=True))
    if choices := task.card.choices:
        logits = torch.tensor([row for _, of_batch in rows for row in of_batch])  # (n, choices)
        shares = (dict(zip(choices, row, strict=True)) for row in logits.softmax(dim=1).tolist())
        probabilities = dict(zip(names, shares, strict=True))
    else:
        texts_of = {name: (text, *candidates.get(name, ())) for name, text in by_id.items()}
        probabilities = written_probabilities(model, task, texts_of, device, micro_batches)
    return {e.id: ScoredAnswer(by_id[e.id], probabilities[e.id]) for e in task.examples}


@torch.inference_mode()
def written_probabilities(
    model: AdaptedModel,
    task: TaskData,
    candidates: Mapping[str, Sequence[str]],
    device: torch.device,
    micro_batches: MicroBatches | None = None,
) -> dict[str, dict[str, float]]:
    """Return by example id the probability of each candidate as a target of training is spelt."""
    pairs = [(e, text) for e in task.examples for text in dict.fromkeys(candidates[e.id])]
    pairs.sort(key=lambda pair: -len(pair[0].context + pair[0].text))
    batches = (
        task.batch([e for e, _ in part], [(text, 1.0) for _, text in part])
        for start in range(0, len(pairs), task.answered_at_once)
        if (part := pairs[start : start + task.answered_at_once])
    )
    losses: list[float] = []
    micro_batches = micro_batches or MicroBatches()
    with model.answering(task.card.name):
        for batch in prefetched_for(device, batches):
            losses += micro_batches.compute(partial(_target_losses, model), batch.to(device))
    by_id: dict[str, dict[str, float]] = {example.id: {} for example in task.examples}
    for (example, text), loss in zip(pairs, losses, strict=True):
        by_id[example.id][text] = float(np.exp(-loss))
    return by_id


def _target_losses(model: AdaptedModel, batches: Iterable[Batch]) -> list[float]:
    """Sum of each example's losses over its target's tokens."""
    return [
        loss
        for batch in batches
        for loss in token_losses(model.label_logits(batch), batch.target_ids).sum(dim=1).tolist()
    ]


@torch.inference_mode()
def _answered(
    model: AdaptedModel,
    task: TaskData,
    device: torch.device,
    share: slice,
    micro_batches: MicroBatches | None,
) -> list[tuple[tuple[str, ...], list[Row]]]:
    """The ids of each batch and what the model makes of its examples."""
    card, micro_batches = task.card, micro_batches or MicroBatches()
    answer = partial(answer_batches, model, card, task.first_tokens())
    batches = task.longest_first(max(1, task.answered_at_once // card.beams), share)
    with model.answering(card.name):
        return [
            (batch.ids, micro_batches.compute(answer, batch.to(device)))
            for batch in prefetched_for(device, batches)
        ]


def answer_batches(
    model: AdaptedModel, card: TaskCard, first: Sequence[int], batches: Iterable[Batch]
) -> list[Row]:
    """Return the tokens of each example's answer, or the logits of its choices."""
    rows: list[Row] = []
    for batch in batches:
        if ids := batch.not_finite():
            raise DataError(f"{batch.task}: the features of {ids[0]} are not finite numbers.")
        if card.choices:
            rows += model.choice_logits(batch, first).float().tolist()
        else:
            rows += model.generate(batch, beams=card.beams, max_length=card.max_length)
    return rows


def _texts(task: TaskData, rows: Sequence[Row]) -> list[str]:
    if choices := task.card.choices:  # argmax takes the first of equal logits, as the authors do
        return [choices[index] for index in np.argmax(rows, axis=1)]
    tokenizer: Any = task.tokenizer
    decoded: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [text.strip() for text in decoded]
