"""The training curve of a run: loss by step, a line per task, and validation after each epoch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.errors import DataError
from vlbench.leaderboard.site.chart import Tick
from vlbench.leaderboard.site.scales import Scale, log_scale, short

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


class Validation(NamedTuple):
    """The metrics on the validation split after an epoch."""

    epoch: int
    values: dict[str, float]


def read_log(folder: Path, key: str) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; none where it has no such file."""
    path = folder / "runs" / key / "metrics.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise DataError(f"{path}: not JSON Lines: {error}") from None
    return [line for line in found if isinstance(line, dict)]


def make_curve(log: Sequence[dict[str, Any]]) -> Curve | None:
    """The losses of a log; None where there are too few for a line."""
    losses: dict[str, list[tuple[int, float]]] = {}
    for line in log:
        step, loss = line.get("step"), line.get("loss")
        if isinstance(step, int) and isinstance(loss, int | float) and 0 < loss < float("inf"):
            losses.setdefault(str(line.get("task", "loss")), []).append((step, float(loss)))
    lines = {task: _smooth(points) for task, points in losses.items() if len(points) > 1}
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


def validations(log: Sequence[dict[str, Any]]) -> list[Validation]:
    """What was measured after each epoch."""
    found = []
    for line in log:
        values = line.get("validation")
        if isinstance(values, dict) and isinstance(line.get("epoch"), int):
            numbers = {str(k): float(v) for k, v in values.items() if isinstance(v, int | float)}
            found.append(Validation(line["epoch"], numbers))
    return found


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
