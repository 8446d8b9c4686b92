"""The small print of pictures: how to read them, what is not drawn, what the numbers stand on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.notes import (
    AVERAGE_NOTE,
    code_note,
    counted,
    data_note,
    ground_notes,
    listed_seeds,
    seeds_note,
)
from vlbench.leaderboard.plots.costs import Cost
from vlbench.leaderboard.plots.points import left_out
from vlbench.leaderboard.summary import Board

FRONTIER_NOTE = (
    "Frontier: no other method has a mean cost at most as high and a mean score at least as high. "
    "It compares means and is no test; floors, and what is at or below one, are not on it."
)


def pareto_notes(board: Board, costs: Sequence[Cost], metric: str) -> list[str]:
    """How to read the picture, which rows are not in it, and where the numbers come from."""
    notes = [FRONTIER_NOTE]
    notes += [AVERAGE_NOTE] if metric == AVERAGE else []
    missing = {cost.name: left_out(board, cost, metric) for cost in costs}
    notes += _missing(board, missing)
    if any(cost.is_measured for cost in costs):
        devices = counted(run.facts["device"] for run in board.runs if run.is_done)
        notes.append(f"Device: {devices}.")
    return [*notes, seeds_note(board), *ground_notes(board), *board.notes]


def curve_notes(board: Board) -> list[str]:
    """Which seeds, data and code the training curves are of."""
    return [
        f"Seeds: {listed_seeds(board)}.",
        data_note(board, has_counts=False),
        code_note(board),
        *board.notes,
    ]


def _missing(board: Board, missing: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The rows without a point, in one sentence where it is the same for every cost."""
    if len({tuple(rows.items()) for rows in missing.values()}) == 1:
        missing = {"": next(iter(missing.values()))}
    return [
        f"Not drawn{f' against {name}' if name else ''}: {len(rows)} of {len(board.rows)} methods: "
        f"{_listed(rows.items())}."
        for name, rows in missing.items()
        if rows
    ]


def _listed(rows: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{label} ({reason})" for label, reason in rows)
