"""The training curve of a run: loss by step, a line per task."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlbench.leaderboard.logs import Log
from vlbench.leaderboard.scales import Scale, log_scale, short
from vlbench.leaderboard.site.chart import Tick

WIDTH, HEIGHT = 640, 280
LEFT, TOP, RIGHT, BOTTOM = 48, 12, 12, 44
BINS = 24
"""A line has so many points at the most, each the median of the losses of its steps."""
STYLES = 8
"""Kinds of lines; a ninth task looks like the first."""


class Line(NamedTuple):
    """The losses of one task."""

    task: str
    style: int
    points: str
    """As SVG's polyline wants them."""


@dataclass(frozen=True)
class Curve:
    """The picture of a run's losses."""

    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def make_curve(log: Log) -> Curve | None:
    """The losses of a log; None where there are too few for a line."""
    positive = {task: [p for p in points if p[1] > 0] for task, points in log.losses.items()}
    lines = {task: _smooth(points) for task, points in positive.items() if len(points) > 1}
    if not lines:
        return None
    every = [point for points in lines.values() for point in points]
    last = max(step for step, _ in every)
    x = Scale(0, last * 1.02, LEFT, WIDTH - RIGHT)
    y = log_scale((loss for _, loss in every), HEIGHT - BOTTOM, TOP)
    return Curve(
        [
            Line(task, number % STYLES, " ".join(f"{x(step)},{y(loss)}" for step, loss in points))
            for number, (task, points) in enumerate(sorted(lines.items()))
        ],
        [Tick(x(value), short(value)) for value in x.ticks],
        [Tick(y(value), short(value)) for value in y.ticks],
    )


def _smooth(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Medians over neighbouring steps."""
    size = -(-len(points) // BINS)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (
            round(statistics.fmean(step for step, _ in part)),
            statistics.median(loss for _, loss in part),
        )
        for part in parts
    ]
