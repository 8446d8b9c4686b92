"""Axes side by side and below each other: small multiples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from vlbench.leaderboard.plots.page import MARGIN, Band

TWO_ABREAST = 6.0
"""From this width on, in inches, two axes stand side by side."""
BESIDE, BELOW, ABOVE = 0.42, 0.36, 0.1
"""Room for the numbers and names of axes, in inches."""
Draw = Callable[[Figure, float, float], object]
"""Draws axes whose lower left corner is at a place, in inches."""


class Grid(NamedTuple):
    """How many axes stand side by side, and how wide each is, in inches."""

    abreast: int
    step: float
    wide: float


def grid(count: int, width: float) -> Grid:
    """The places of so many axes on paper of that width."""
    abreast = 2 if count > 1 and width >= TWO_ABREAST else 1
    step = (width - MARGIN) / abreast
    return Grid(abreast, step, step - BESIDE - MARGIN)


def rows(places: Grid, draws: Sequence[Draw], tall: float, above: float = ABOVE) -> list[Band]:
    """A band for each row of axes that are so high, with room above for a title."""
    return [
        _row(places, draws[start : start + places.abreast], tall, above)
        for start in range(0, len(draws), places.abreast)
    ]


def _row(places: Grid, draws: Sequence[Draw], tall: float, above: float) -> Band:
    def draw(figure: Figure, bottom: float) -> None:
        for number, each in enumerate(draws):
            each(figure, MARGIN + BESIDE + number * places.step, bottom + BELOW)

    return Band(tall + BELOW + above, draw)
