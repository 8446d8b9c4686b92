"""The official metrics: a table of names, and how to get the function behind one.

A metric takes the official annotations and the predicted texts, both by example id, and returns
`Scored`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

from vlbench.errors import UsageError, nearest
from vlbench.metrics.scored import Metric
from vlbench.outside import load

METRICS = {
    "accuracy": "vlbench.metrics.accuracy:score",
    "captions": "vlbench.metrics.captions:score",
    "gqa": "vlbench.metrics.gqa:score",
    "nlvr2": "vlbench.metrics.nlvr2:score",
    "value-captions": "vlbench.metrics.value_captions:score",
    "vqa": "vlbench.metrics.vqa:score",
    "vqa-2021": "vlbench.metrics.vqa:score_2021",
}
FOR_VALIDATION = {
    "captions": "vlbench.metrics.captions:score_without_meteor",
    "value-captions": "vlbench.metrics.value_captions:score_without_meteor",
}
"""Cheaper versions for the epochs in between."""
REQUIREMENTS = {
    "captions": "vlbench.metrics.java:require_java",
    "value-captions": "vlbench.metrics.java:require_java",
}
"""What has to be there before training starts, so that it is not missed after it."""
AHEAD = {
    "captions": "vlbench.metrics.captions:one_meteor",
    "value-captions": "vlbench.metrics.captions:one_meteor",
}
"""What a metric can start before there are answers to score."""


def load_metric(name: str, validation: bool = False) -> Metric:
    """The metric of that name, or at "module:function"; `validation`: its cheaper version."""
    target = METRICS.get(name, name)
    if validation:
        target = FOR_VALIDATION.get(name, target)
    if ":" not in target:
        raise UsageError(
            f"Unknown metric '{name}'. {nearest(name, METRICS)} Or your own: \"module:function\"."
        )
    function = load(name, target)
    if not callable(function):
        raise UsageError(f"Cannot load the metric '{name}': it is not a function.")
    return cast(Metric, function)


def require_metric(name: str) -> None:
    """Raise a MissingError now if this metric could not be computed here later."""
    if name in REQUIREMENTS:
        load(name, REQUIREMENTS[name])()


@contextmanager
def started_ahead(names: Iterable[str]) -> Iterator[None]:
    """While it lasts, what these metrics need runs, once for all of them."""
    with ExitStack() as stack:
        for target in sorted({AHEAD[name] for name in names if name in AHEAD}):
            stack.enter_context(load(target)(at_once=True))
        yield
