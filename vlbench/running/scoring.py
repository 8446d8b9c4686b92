"""Score a task's answers with its official metric, per question family too, beside the majority."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example
from vlbench.errors import UsageError
from vlbench.metrics import Scored, load_metric, percent

NO_MAJORITY = ("captions", "value-captions")
"""Metrics of free text: there is no most frequent answer to compare with."""


@dataclass(frozen=True, slots=True)
class Value:
    """One row of a result: a metric over all examples, or over one family of questions."""

    metric: str
    family: str
    value: float
    majority: float | None
    n: int


def score(
    card: TaskCard,
    examples: Sequence[Example],
    answers: Mapping[str, str],
    validation: bool = False,
) -> Scored:
    """The official metric; `validation` leaves out what takes longest.

    UsageError where it gives NaN or infinity, as a metric of the user's own may.
    """
    annotations = {example.id: example.annotation for example in examples}
    scored = load_metric(card.metric, validation)(annotations, answers)
    for name, value in (*scored.metrics.items(), *scored.per_example.items()):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{card.shown}: metric: '{card.metric}' gives {value} for {name}.")
    return scored


def values(
    card: TaskCard, examples: Sequence[Example], scored: Scored, majority: Scored | None
) -> list[Value]:
    """Every metric over all examples, then the main one per family where it is a plain mean."""
    main = card.main_metric
    rows = [
        Value(
            name,
            "",
            value,
            majority.metrics[name] if majority and name == main else None,
            len(examples),
        )
        for name, value in scored.metrics.items()
    ]
    if majority is None:
        return rows
    families: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        if example.family:
            families[example.family].append(example.id)
    for family, ids in sorted(families.items()):
        value = percent(scored.per_example[each] for each in ids)
        floor = percent(majority.per_example[each] for each in ids)
        rows.append(Value(main, family, value, floor, len(ids)))
    return rows


def majority_scored(
    card: TaskCard, train: Sequence[Example], examples: Sequence[Example]
) -> Scored | None:
    """What always giving a family's most frequent training answer scores; None for captions."""
    if card.metric in NO_MAJORITY:
        return None
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for answer, weight in example.targets.items():
            counts[example.family][answer] += weight  # type: ignore[assignment]
            counts[""][answer] += weight  # type: ignore[assignment]
    best = {family: max(sorted(found), key=found.__getitem__) for family, found in counts.items()}
    overall = best.get("", "")
    answers = {example.id: best.get(example.family, overall) for example in examples}
    return score(card, examples, answers)
