"""What every metric returns, and the checks and means that metrics share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vlbench.errors import DataError

Annotations = Mapping[str, Mapping[str, Any]]
Predictions = Mapping[str, str]
SHOWN = 10
"""How many ids or faults a message lists."""


class Group(NamedTuple):
    """The accuracy of one kind of example, in percent, and how many there are."""

    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one set of predictions, unrounded."""

    metrics: dict[str, float]
    """Metric -> value in percent (CIDEr x 100)."""
    per_example: dict[str, float]
    """Example id -> score: 0 to 1 for accuracies, the image's CIDEr for captions."""
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    """Kind of grouping ("answer_type") -> group ("yes/no") -> accuracy and count."""
    undefined: dict[str, str] = field(default_factory=dict)
    """Metric -> why it says nothing of these examples; `metrics` may have its official value."""


Metric = Callable[[Annotations, Predictions], Scored]


def check_ids(
    wanted: Iterable[str], predictions: Predictions, extra_allowed: bool = False
) -> Sequence[str]:
    """The wanted ids in order, once it is sure that each has a prediction."""
    ids = list(wanted)
    if not ids:
        raise DataError("There is nothing to score: no annotation was given.")
    missing = [each for each in ids if each not in predictions]
    if missing:
        raise DataError(
            f"No prediction for {len(missing)} of {len(ids)} examples: {listed(missing)}."
        )
    known = set(ids)
    extra = [] if extra_allowed else [each for each in predictions if each not in known]
    if extra:
        raise DataError(f"{len(extra)} predictions have no annotation: {listed(extra)}.")
    return ids


def listed(ids: Sequence[str], between: str = ", ") -> str:
    """The first ten and how many more there are, for a message."""
    more = [f"and {len(ids) - SHOWN} more"] if len(ids) > SHOWN else []
    return between.join([*ids[:SHOWN], *more])


def mean(values: Iterable[float]) -> float:
    """The plain mean; there must be a value."""
    numbers = list(values)
    return sum(numbers) / len(numbers)


def percent(values: Iterable[float]) -> float:
    """100 x the mean of scores in 0 to 1."""
    return 100 * mean(values)


def grouped(scores: Mapping[str, float], names: Mapping[str, object]) -> dict[str, Group]:
    """Accuracy per group, sorted; `names` says which group an example is in, None for none."""
    members: dict[Any, list[float]] = defaultdict(list)
    for each, score in scores.items():
        if names.get(each) is not None:
            members[names[each]].append(score)
    return {
        str(name): Group(percent(members[name]), len(members[name])) for name in sorted(members)
    }
