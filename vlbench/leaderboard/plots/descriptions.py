"""Pictures in words, for who does not see them: the title and the description in the file."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.numbers import deviation, number
from vlbench.leaderboard.plots.costs import Cost
from vlbench.leaderboard.plots.points import Point, points, scored_by, with_metric
from vlbench.leaderboard.plots.quantity import Quantity
from vlbench.leaderboard.sheets import title
from vlbench.leaderboard.summary import Board


def pareto_title(boards: Sequence[Board], costs: Sequence[Cost], metric: str = AVERAGE) -> str:
    """What is drawn against what, and of which boards."""
    against = ", ".join(cost.title.lower() for cost in costs)
    shown = "; ".join(title(board) for board in with_metric(boards, metric))
    return f"{metric.capitalize() if metric == AVERAGE else metric} against {against}: {shown}"


def pareto_text(boards: Sequence[Board], costs: Sequence[Cost], metric: str = AVERAGE) -> str:
    """Every point of the picture."""
    parts = []
    for board in with_metric(boards, metric):
        for cost in costs:
            told = "; ".join(_told(point, cost) for point in points(board, cost, metric))
            name = scored_by(board, metric)
            parts.append(f"{title(board)}, {name} against {cost.title.lower()}: {told}.")
    return " ".join(parts)


def curves_title(boards: Sequence[Board], quantity: Quantity) -> str:
    """What is drawn, and of which boards."""
    return "; ".join(curves_heading(board, quantity) for board in boards)


def curves_heading(board: Board, quantity: Quantity) -> str:
    """A board's title with what is drawn in place of the test split."""
    return title(board).replace("test split", quantity.heading)


def _told(point: Point, cost: Cost) -> str:
    digits = 1 if cost.unit else 0
    price = f"{number(point.x, cost.scale, digits)} {cost.unit}".strip()
    marks = [
        *["on the frontier"] * point.is_on_frontier,
        *["a floor"] * point.row.is_floor,
        *["at or below a floor"] * (point.is_below_floor and not point.row.is_floor),
    ]
    told = f"{point.row.label} {number(point.y)}{deviation(point.score.std)} at {price}"
    return ", ".join([told, *marks])
