"""The axes of a Pareto picture: their limits, and where on paper a value stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vlbench.leaderboard.plots.geometry import Floats
from vlbench.leaderboard.plots.points import Point

SQUASHED = 0.45
"""The least share of the height that what beats the floors may have."""
ROOM = 0.06


@dataclass(frozen=True)
class Frame:
    """The limits of axes with logarithmic costs, and their size in points (1/72 inch)."""

    left: float
    right: float
    low: float
    high: float
    width: float
    height: float

    def on_paper(self, x: Iterable[float], y: Iterable[float]) -> Floats:
        """Values (n,), (n,) -> their place from the lower left corner (n, 2)."""
        across = (np.log10(list(x)) - math.log10(self.left)) / math.log10(self.right / self.left)
        up = (np.array(list(y)) - self.low) / (self.high - self.low)
        return np.stack([across * self.width, up * self.height], axis=-1)

    def is_below(self, point: Point) -> bool:
        """Whether a point lies below the axes and is told at their edge."""
        return point.y < self.low


def frame(shown: Sequence[Point], low: float, high: float, width: float, height: float) -> Frame:
    """Axes for the points, with room beside them for names."""
    spread = [(point.x, point.cost.std or 0.0) for point in shown]
    least = min(max(cost - std, cost / 2) for cost, std in spread)
    most = max(cost + std for cost, std in spread)
    room = max((most / least) ** 0.08, 1.12)
    return Frame(least / room, most * room, low, high, width, height)


def score_limits(shown: Sequence[Point]) -> tuple[float, float]:
    """The lowest and the highest score drawn, deviations included.

    Floors, and what is no better, are told at the lower edge where they would squash the rest.
    """
    rest = [point for point in shown if not point.row.is_floor and not point.is_below_floor]
    low, high = _ends(shown)
    if len(rest) > 2 and _height(rest) < SQUASHED * (high - low):
        low, high = _ends(rest)
    room = (high - low) * ROOM or max(abs(high) * 0.05, 1.0)
    return low - room, high + room


def _height(shown: Sequence[Point]) -> float:
    low, high = _ends(shown)
    return high - low


def _ends(shown: Sequence[Point]) -> tuple[float, float]:
    ends = [point.y + sign * (point.score.std or 0.0) for point in shown for sign in (-1, 1)]
    return min(ends), max(ends)
