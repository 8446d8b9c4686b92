"""What a Pareto plot shows of a board, settled without matplotlib: costs, points, the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlbench.errors import UsageError, nearest
from vlbench.leaderboard.board import AVERAGE, Board, Row, Stat, is_best
from vlbench.techniques import JOINED_BY

ALL_COSTS = "all"
"""Value of `--cost` that draws every cost, each on axes of its own."""
FLOOR = "floor"
COMBINED = "combined"
OTHER = "other technique"
FAMILIES = {
    "adapter": "adapters",
    "compacter": "adapters",
    "hyperformer": "adapters",
    "low_rank_adapter": "adapters",
    "vl_pet": "VL-PET",
    "lora": "low-rank updates",
    "prompt": "prompts",
    "bitfit": "some of the weights",
    "frozen": "some of the weights",
    "lst": "side network",
    "peft": "tuners of peft",
    "full": "all weights",
}
"""Technique -> family, which a marker's shape shows."""
FAMILY_ORDER = (*dict.fromkeys(FAMILIES.values()), COMBINED, OTHER, FLOOR)
"""All families, in the order of the legend."""


class Cost(NamedTuple):
    """What a method costs: a column of the results, as an axis shows it."""

    name: str
    title: str
    unit: str
    scale: float
    """Factor from the stored value to `unit`."""
    is_measured: bool
    """Whether it depends on the machine, which the plot then names."""

    @property
    def label(self) -> str:
        """Label of the axis."""
        unit = f"{self.unit}, " if self.unit else ""
        return f"{self.title} ({unit}log scale)"

    def of(self, row: Row) -> Stat:
        """Return the cost of `row` over its seeds."""
        if self.name in row.costs:
            return row.costs[self.name]
        return Stat.of([row.facts[self.name]] * len(row.seeds))


COSTS = (
    Cost("trainable_parameters", "Trainable parameters", "", 1.0, is_measured=False),
    Cost("adapter_bytes", "Stored size", "KB", 1e-3, is_measured=False),
    Cost("peak_memory_bytes", "Peak memory", "MB", 1e-6, is_measured=True),
    Cost("train_seconds", "Training time", "s", 1.0, is_measured=True),
)


@dataclass(frozen=True)
class Point:
    """One row of a board with its cost and its score."""

    row: Row
    family: str
    cost: Stat
    score: Stat
    x: float
    """Mean cost."""
    y: float
    """Mean score."""
    is_on_frontier: bool
    is_below_floor: bool
    is_best: bool
    """Best, or not significantly different from the best."""


def find_costs(name: str) -> tuple[Cost, ...]:
    """Return the cost called `name`, or all of them."""
    costs = tuple(cost for cost in COSTS if name in (cost.name, ALL_COSTS))
    if not costs:
        known = [ALL_COSTS, *(cost.name for cost in COSTS)]
        raise UsageError(f"--cost {name}: Unknown cost '{name}'. {nearest(name, known)}")
    return costs


def points(board: Board, cost: Cost, metric: str = AVERAGE) -> list[Point]:
    """Return the rows that have a positive cost and a score, in the board's order.

    The frontier is one of means. Floors, and rows at or below one, are not on it.
    """
    metric = scored_by(board, metric)
    rows = [row for row in board.rows if not _reason_left_out(row, board, cost, metric)]
    costs = [cost.of(row) for row in rows]
    scores = [score(row, metric) for row in rows]
    ranked = [
        None if row.is_floor or metric in row.below_floor else stat.mean
        for row, stat in zip(rows, scores, strict=True)
    ]
    frontier = on_frontier([stat.mean for stat in costs], ranked)
    return [
        Point(
            row=row,
            family=family(row),
            cost=costs[n],
            score=scores[n],
            x=costs[n].mean or 0.0,
            y=scores[n].mean or 0.0,
            is_on_frontier=frontier[n],
            is_below_floor=metric in row.below_floor,
            is_best=is_best(row, metric, board),
        )
        for n, row in enumerate(rows)
    ]


def on_frontier(costs: Sequence[float | None], scores: Sequence[float | None]) -> list[bool]:
    """Return which points are on the Pareto frontier.

    A point is off it when another costs at most as much, scores at least as high and is better in
    one of the two. Equal points stand or fall together; a point without cost or score is off it.
    """
    ranked = sorted(
        (cost, -score, number)
        for number, (cost, score) in enumerate(zip(costs, scores, strict=True))
        if cost is not None and score is not None
    )
    flags = [False] * len(costs)
    best: tuple[float, float] | None = None
    for cost, negative_score, number in ranked:
        if best is None or negative_score < best[1] or (cost, negative_score) == best:
            flags[number] = True
            best = cost, negative_score
    return flags


def left_out(board: Board, cost: Cost, metric: str = AVERAGE) -> dict[str, str]:
    """Return the rows without a point, by label, with the reason."""
    metric = scored_by(board, metric)
    reasons = {row.label: _reason_left_out(row, board, cost, metric) for row in board.rows}
    return {label: reason for label, reason in reasons.items() if reason}


def scored_by(board: Board, metric: str = AVERAGE) -> str:
    """Return the metric of the vertical axis: a single task's main metric is its average."""
    mains = list(board.mains.values())
    return mains[0] if metric == AVERAGE and len(mains) == 1 else metric


def score(row: Row, metric: str) -> Stat:
    """Return the average of `row`, or its value of `metric`."""
    return row.average if metric == AVERAGE else row.stat(metric)


def with_metric(boards: Sequence[Board], metric: str) -> list[Board]:
    """Return the boards that have `metric`; UsageError where none has."""
    if metric == AVERAGE:
        return list(boards)
    having = [board for board in boards if any(row.stat(metric).n for row in board.rows)]
    if not having:
        known = {
            name for board in boards for row in board.rows for name, part in row.stats if not part
        }
        raise UsageError(
            f"--metric {metric}: No such metric here. {nearest(metric, {AVERAGE, *known})}"
        )
    return having


def family(row: Row) -> str:
    """Return the family of the row's technique; floors are one of their own."""
    if row.is_floor:
        return FLOOR
    technique = str(row.facts["technique"])
    return COMBINED if JOINED_BY in technique else FAMILIES.get(technique, OTHER)


def _reason_left_out(row: Row, board: Board, cost: Cost, metric: str) -> str:
    """Why a row has no point; empty where it has one."""
    if score(row, metric).mean is None:
        scored = sum(row.stat(name).n > 0 for name in board.mains.values())
        return f"{scored}/{len(board.mains)} tasks" if metric == AVERAGE else f"no {metric}"
    mean = cost.of(row).mean
    if mean is None:
        return f"no {cost.title.lower()} recorded"
    return "" if mean > 0 else f"{cost.title.lower()} 0, which a log scale does not have"
