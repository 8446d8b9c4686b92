"""Signs beside numbers: what is best, as far as the test can tell, and what is below a floor."""

from __future__ import annotations

from vlbench.leaderboard.summary import FLOORS, Board, Row

AVERAGE = "average"
"""The average's name among the metrics of a row."""
BEST = "*"
BELOW = "↓"
BEST_NOTE = (
    f"Bold, or {BEST}: the best of a column and what ties with it by test, where its mean is more "
    "than its deviation above the floors."
)
BELOW_NOTE = (
    f"{BELOW} marks what is at or below a floor: the majority answer, or the row of "
    f"{' or '.join(FLOORS)}."
)


def is_best(row: Row, metric: str, board: Board) -> bool:
    """Whether a row is the best or ties with it; nobody is the best of one, or near a floor."""
    several = sum(metric in each.ties for each in board.marked or board.rows) > 1
    is_above = not row.is_floor and metric not in row.near_floor
    return several and is_above and row.ties.get(metric) == 1


def is_below_floor(row: Row) -> bool:
    """Whether the row's average is at or below a floor, or without one any of its metrics."""
    return AVERAGE in row.below_floor if row.average.n else bool(row.below_floor)


def has_best(board: Board) -> bool:
    """Whether anything is marked as the best."""
    metrics = {metric for row in board.rows for metric in row.ties}
    return any(is_best(row, metric, board) for row in board.rows for metric in metrics)
