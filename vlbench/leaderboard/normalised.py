"""The normalised score: 0 is a task's floor, 100 what full fine-tuning scores; then the mean.

The floor is the highest of majority answer and baselines. A task on which full fine-tuning lies
hardly above the floor, or at the end of the metric's scale, tells methods apart by chance or not at
all: it is saturated, and left out.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NORMALISED = "normalised"  # its name among the metrics of a row
LEAST_SPAN = 5.0
"""Points that full fine-tuning must lie above the floor."""
HIGHEST = 0.95
"""Share of the metric's scale above which full fine-tuning may not lie."""
CIDER_SCALE = 1000.0
"""CIDEr-D's maximum x 100, if every sentence is its references'."""


@dataclass(frozen=True)
class Ruler:
    """What a board's normalised scores are measured by: points of each main metric."""

    row: str  # label of the row of full fine-tuning
    floors: Mapping[str, float]
    full: Mapping[str, float]
    saturated: Mapping[str, str]  # metric that is left out -> why
    all_floors: Mapping[str, float]  # those of saturated metrics too

    @property
    def spans(self) -> dict[str, float]:
        """Points from floor to full fine-tuning, of the metrics that count."""
        return {name: self.full[name] - floor for name, floor in self.floors.items()}

    @property
    def fractions(self) -> npt.NDArray[np.float64]:
        """(T,): the floors of the tasks that count, as a scale of the test has them."""
        return np.array([*self.floors.values()]) / 100

    def score(self, values: Mapping[str, float | None]) -> float | None:
        """Normalised score of main metrics, None unless all that count have a value."""
        scores = []
        for name, span in self.spans.items():
            value = values.get(name)
            if value is None:
                return None
            scores.append(100 * (value - self.floors[name]) / span)
        return statistics.fmean(scores)


def find_ruler(
    row: str, full: Mapping[str, float | None], floors: Mapping[str, Sequence[float]]
) -> Ruler | None:
    """Return the ruler of a board; None where a task has no floor or no result of `full`.

    floors: for each main metric the scores of the majority answer and of baselines.
    """
    known = {name: value for name, value in full.items() if value is not None}
    if len(known) < len(full) or not all(floors[name] for name in full):
        return None
    highest = {name: max(floors[name]) for name in full}
    saturated: dict[str, str] = {}
    for name, value in known.items():
        if value > HIGHEST * scale_of(name):
            saturated[name] = f"full fine-tuning has {value:.1f} of {scale_of(name):,.0f}"
        elif value - highest[name] < LEAST_SPAN:
            saturated[name] = (
                f"full fine-tuning has {value:.1f}, {value - highest[name]:+.1f} from the floor"
            )
    counted = {name: floor for name, floor in highest.items() if name not in saturated}
    return Ruler(row, counted, known, saturated, highest)


def scale_of(metric: str) -> float:
    """The highest value that a metric can have, in percent."""
    return CIDER_SCALE if metric.rpartition(".")[2] == "cider" else 100.0
