"""What the Pareto picture shows of a board: its points, and the rows that have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlbench.errors import UsageError, nearest
from vlbench.leaderboard.marks import AVERAGE, is_best
from vlbench.leaderboard.plots.costs import Cost
from vlbench.leaderboard.plots.frontier import on_frontier
from vlbench.leaderboard.plots.technique_families import family
from vlbench.leaderboard.summary import Board, Row, Stat


@dataclass(frozen=True)
class Point:
    """One row of a board with its mean cost and its mean score."""

    row: Row
    family: str
    cost: Stat
    score: Stat
    x: float
    y: float
    is_on_frontier: bool
    is_below_floor: bool
    is_best: bool
    """Best by the test, or not told from the best."""


def points(board: Board, cost: Cost, metric: str = AVERAGE) -> list[Point]:
    """The rows that have a cost above 0 and a score, in the board's order.

    The frontier is one of means. Floors, and what is at or below one, have no place on it.
    """
    metric = scored_by(board, metric)
    drawn = [row for row in board.rows if not _reason(row, board, cost, metric)]
    costs = [cost.of(row) for row in drawn]
    scores = [score(row, metric) for row in drawn]
    below = [metric in row.below_floor for row in drawn]
    front = on_frontier(
        [each.mean for each in costs],
        [
            None if row.is_floor or is_below else each.mean
            for row, each, is_below in zip(drawn, scores, below, strict=True)
        ],
    )
    return [
        Point(
            row=row,
            family=family(row),
            cost=costs[n],
            score=scores[n],
            x=costs[n].mean or 0.0,
            y=scores[n].mean or 0.0,
            is_on_frontier=front[n],
            is_below_floor=below[n],
            is_best=is_best(row, metric, board),
        )
        for n, row in enumerate(drawn)
    ]


def left_out(board: Board, cost: Cost, metric: str = AVERAGE) -> dict[str, str]:
    """The rows that are not drawn, by label, and why."""
    metric = scored_by(board, metric)
    reasons = {row.label: _reason(row, board, cost, metric) for row in board.rows}
    return {label: reason for label, reason in reasons.items() if reason}


def scored_by(board: Board, metric: str = AVERAGE) -> str:
    """The metric that gives the height: of a single task its main one is the average."""
    mains = list(board.mains.values())
    return mains[0] if metric == AVERAGE and len(mains) == 1 else metric


def score(row: Row, metric: str) -> Stat:
    """The row's average or its value of a metric."""
    return row.average if metric == AVERAGE else row.stat(metric)


def with_metric(boards: Sequence[Board], metric: str) -> list[Board]:
    """The boards that have the metric; an error where none has."""
    if metric == AVERAGE:
        return list(boards)
    there = [board for board in boards if any(row.stat(metric).n for row in board.rows)]
    if not there:
        known = {
            name for board in boards for row in board.rows for name, part in row.stats if not part
        }
        raise UsageError(
            f"--metric {metric}: No such metric here. {nearest(metric, {AVERAGE, *known})}"
        )
    return there


def _reason(row: Row, board: Board, cost: Cost, metric: str) -> str:
    """Why a row has no point; nothing where it has one."""
    if score(row, metric).mean is None:
        there = sum(row.stat(name).n > 0 for name in board.mains.values())
        return f"{there}/{len(board.mains)} tasks" if metric == AVERAGE else f"no {metric}"
    mean = cost.of(row).mean
    if mean is None:
        return f"no {cost.title.lower()} recorded"
    return "" if mean > 0 else f"{cost.title.lower()} 0, which a log scale does not have"
