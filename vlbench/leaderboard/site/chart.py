"""The picture of a board: its score against what methods cost, the frontier marked.

Every cost has an axis, a frontier and labels of its own; without JavaScript the first is shown.
Floors are left out: they are there to be beaten, and would flatten the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlbench.leaderboard.board import Row, Stat
from vlbench.leaderboard.plots.points import COSTS, Cost, on_frontier, score, scored_by
from vlbench.leaderboard.scales import Scale, linear_scale, log_scale, short
from vlbench.leaderboard.site.labels import Box, Label, place_labels
from vlbench.leaderboard.site.layout import Entry, Place
from vlbench.leaderboard.tables import deviation, number

WIDTH, HEIGHT = 960, 420
LEFT, TOP, RIGHT, BOTTOM = 56, 18, 20, 52
MOST_LABELS = 40
SHAPES = {"task": "circle", "all": "square", "up": "triangle", "down": "wedge"}
"""Sharing -> shape; any other sharing is a diamond."""


SHOWN = {
    "adapter_bytes": ("KB", 1e-3),
    "peak_memory_bytes": ("MB", 1e-6),
    "train_seconds": ("s", 1.0),
}
"""The unit of a cost on the page, and what brings its values to it."""


@dataclass(frozen=True)
class Mark:
    """A method in the picture."""

    entry: Entry
    shape: str
    y: float
    xs: Sequence[float | None]
    """By cost."""
    on_frontier: Sequence[bool]
    """By cost."""
    top: float
    bottom: float
    """Ends of the deviation over seeds."""
    told: Sequence[str]
    """Lines of what a reader who points at it is told."""


class Tick(NamedTuple):
    """A value written beside an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """What changes with the cost that is chosen."""

    cost: Cost
    ticks: Sequence[Tick]
    frontier: str
    """The frontier's steps as an SVG path."""
    labels: Sequence[Label]

    @property
    def title(self) -> str:
        """What stands below the axis."""
        unit, _ = _unit(self.cost)
        return f"{self.cost.title} ({unit}), log scale" if unit else f"{self.cost.title}, log scale"


@dataclass(frozen=True)
class Chart:
    """Everything that the picture shows."""

    marks: Sequence[Mark]
    axes: Sequence[Axis]
    y_ticks: Sequence[Tick]
    y_title: str
    left_out: int
    """Methods without an average or a cost."""
    shapes: Sequence[tuple[str, str]]
    """Sharing and its shape, of the methods shown."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def make_chart(place: Place) -> Chart | None:
    """The chart of a board; None where fewer than two methods can be drawn."""
    metric = scored_by(place.board)
    shown = [(entry, score(entry.row, metric)) for entry in place.methods]
    there = [(e, s, s.mean) for e, s in shown if s.mean is not None and any(_costs(e.row))]
    if len(there) < 2:
        return None
    ends = [mean + sign * (stat.std or 0.0) for _, stat, mean in there for sign in (-1, 1)]
    y = linear_scale(ends, HEIGHT - BOTTOM, TOP)
    columns = list(zip(*(_costs(entry.row) for entry, _, _ in there), strict=True))
    drawn = [at for at, column in enumerate(columns) if sum(map(bool, column)) > 1]
    xs = [_x_scale(columns[at]) for at in drawn]
    ranked = [None if metric in entry.row.below_floor else mean for entry, _, mean in there]
    fronts = [on_frontier(columns[at], ranked) for at in drawn]
    marks = [
        Mark(
            entry,
            _shape(entry.row),
            y(mean),
            [_at(x, columns[at][n]) for x, at in zip(xs, drawn, strict=True)],
            [front[n] for front in fronts],
            y(mean + (stat.std or 0.0)),
            y(mean - (stat.std or 0.0)),
            _told(entry.row, stat),
        )
        for n, (entry, stat, mean) in enumerate(there)
    ]
    return Chart(
        marks,
        [_axis(COSTS[at], xs[number], marks, number) for number, at in enumerate(drawn)],
        [Tick(y(value), f"{value:g}") for value in y.ticks],
        metric,
        len(shown) - len(there),
        sorted({(str(entry.row.facts["sharing"]), _shape(entry.row)) for entry, _, _ in there}),
    )


def _shape(row: Row) -> str:
    return SHAPES.get(str(row.facts["sharing"]), "diamond")


def _unit(cost: Cost) -> tuple[str, float]:
    return SHOWN.get(cost.name, ("", 1.0))


def _costs(row: Row) -> list[float | None]:
    """What a row costs, in the order of COSTS; nothing that a log axis could not show."""
    means = [cost.of(row).mean for cost in COSTS]
    return [m * _unit(cost)[1] if m else None for cost, m in zip(COSTS, means, strict=True)]


def _x_scale(values: Sequence[float | None]) -> Scale:
    return log_scale([value for value in values if value is not None], LEFT, WIDTH - RIGHT)


def _at(scale: Scale, value: float | None) -> float | None:
    return None if value is None else scale(value)


def _axis(cost: Cost, scale: Scale, marks: Sequence[Mark], at: int) -> Axis:
    there = [mark for mark in marks if mark.xs[at] is not None]
    front = sorted((m for m in there if m.on_frontier[at]), key=lambda m: (m.xs[at], -m.y))
    others = sorted((m for m in there if not m.on_frontier[at]), key=lambda mark: mark.y)
    ordered = [*front, *others]
    labels = place_labels(
        [(mark.xs[at] or 0.0, mark.y) for mark in ordered],
        [_name(mark.entry.row) for mark in ordered[:MOST_LABELS]],
        Box(LEFT, 0, WIDTH, HEIGHT - BOTTOM),
    )
    ticks = [Tick(scale(value), short(value)) for value in scale.ticks]
    return Axis(cost, ticks, _steps(front, at), labels)


def _steps(front: Sequence[Mark], at: int) -> str:
    """The frontier as steps: the best that can be had for so much; empty where nobody is on it."""
    if not front:
        return ""
    corners = [f"H{mark.xs[at]}V{mark.y}" for mark in front[1:]]
    return f"M{front[0].xs[at]},{front[0].y}{''.join(corners)}H{WIDTH - RIGHT}"


def _name(row: Row) -> str:
    return row.label if len(row.label) <= 30 else f"{row.label[:29]}…"


def _told(row: Row, stat: Stat) -> list[str]:
    """Name, score, costs."""
    costs = [
        f"{cost.title}: {number(value, digits=1 if _unit(cost)[0] else 0)} {_unit(cost)[0]}".strip()
        for cost, value in zip(COSTS, _costs(row), strict=True)
        if value is not None
    ]
    return [row.label, f"{number(stat.mean)}{deviation(stat.std)}, n={stat.n}", *costs]
