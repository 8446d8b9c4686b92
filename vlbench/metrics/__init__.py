"""The official metrics: a table of names, what a metric returns, and what metrics share.

A metric takes the official annotations and the predicted texts, both by example id, and returns
`Scored`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from vlbench.errors import DataError, UsageError, nearest
from vlbench.outside import load

Annotations = Mapping[str, Mapping[str, Any]]
Predictions = Mapping[str, str]

METRICS = {
    "accuracy": "vlbench.metrics.labels:accuracy",
    "anls": "vlbench.metrics.answers:anls",
    "captions": "vlbench.metrics.captions:score",
    "gqa": "vlbench.metrics.gqa:score",
    "nlvr2": "vlbench.metrics.labels:nlvr2",
    "token-f1": "vlbench.metrics.answers:token_f1",
    "value-captions": "vlbench.metrics.captions:score_value",
    "vqa": "vlbench.metrics.vqa:score",
    "vqa-2021": "vlbench.metrics.vqa:score_2021",
}
NEEDS_JAVA = ("captions", "value-captions")  # of these there are versions `..._without_meteor`


class Group(NamedTuple):
    """Accuracy of one kind of example, in percent, and the number of examples."""

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
    per_metric: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metric -> example id -> score, where there are several."""


Metric = Callable[[Annotations, Predictions], Scored]


def load_metric(name: str, validation: bool = False) -> Metric:
    """Return the metric of that name or "module:function"; `validation`: its cheaper version."""
    target = METRICS.get(name, name)
    if ":" not in target:
        raise UsageError(
            f"Unknown metric '{name}'. {nearest(name, METRICS)} Or your own: \"module:function\"."
        )
    is_cheaper = validation and name in NEEDS_JAVA
    function = load(name, f"{target}_without_meteor" if is_cheaper else target)
    if not callable(function):
        raise UsageError(f"Cannot load the metric '{name}': it is not a function.")
    return cast(Metric, function)


def require_metric(name: str) -> None:
    """Raise a MissingError now, before training, if this metric could not be computed after it."""
    if name in NEEDS_JAVA:
        from vlbench.metrics.java import require_java

        require_java()


def started_ahead(names: Iterable[str]) -> AbstractContextManager[object]:
    """Run METEOR within the block, once for all of these metrics that need it."""
    if not any(name in NEEDS_JAVA for name in names):
        return nullcontext()
    from vlbench.metrics.java import one_meteor

    return one_meteor(at_once=True)


def check_ids(
    required: Iterable[str], predictions: Predictions, extra_allowed: bool = False
) -> Sequence[str]:
    """Return the required ids in order; DataError unless every one has a prediction."""
    ids = list(required)
    if not ids:
        raise DataError("There is nothing to score: no annotation was given.")
    if missing := [example for example in ids if example not in predictions]:
        raise DataError(
            f"No prediction for {len(missing)} of {len(ids)} examples: {listed(missing)}."
        )
    known = set(predictions if extra_allowed else ids)
    if extra := [example for example in predictions if example not in known]:
        raise DataError(f"{len(extra)} predictions have no annotation: {listed(extra)}.")
    return ids


def listed(ids: Sequence[str]) -> str:
    """The first ten ids and the number of the others, for a message."""
    return ", ".join([*ids[:10], *([f"and {len(ids) - 10} more"] if len(ids) > 10 else [])])


def mean(values: Iterable[float]) -> float:
    """Plain mean of one value or more."""
    numbers = list(values)
    return sum(numbers) / len(numbers)


def percent(values: Iterable[float]) -> float:
    """100 x the mean of scores in 0 to 1."""
    return 100 * mean(values)


def grouped(scores: Mapping[str, float], names: Mapping[str, object]) -> dict[str, Group]:
    """Accuracy per group, sorted; `names` maps an example to its group, or to None."""
    members: dict[Any, list[float]] = defaultdict(list)
    for example, score in scores.items():
        if names.get(example) is not None:
            members[names[example]].append(score)
    return {str(name): Group(percent(of), len(of)) for name, of in sorted(members.items())}
