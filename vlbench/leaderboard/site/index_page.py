"""The first page: a board after another, each with its table, its chart and its footnotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlbench.leaderboard.site.cells import (
    COST_COLUMNS,
    Cell,
    Column,
    cost_cells,
    metric_cells,
    metric_columns,
    percent_cell,
)
from vlbench.leaderboard.site.chart import Chart, make_chart
from vlbench.leaderboard.site.layout import Entry, Layout, Place
from vlbench.leaderboard.tables import NONE, has_majority, number

TALL = 40
"""Rows from which a table scrolls in a box of its own, below its head."""


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    entry: Entry
    title: str
    technique: str
    sharing: str
    is_complete: bool
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    """A board as the first page shows it."""

    place: Place
    columns: Sequence[Column]
    methods: Sequence[Line]
    floors: Sequence[Line]
    majority: Sequence[Cell]
    """The cells of the row that always gives the most frequent answer; none where unknown."""
    techniques: Sequence[str]
    sharings: Sequence[str]
    tasks: Sequence[tuple[str, str]]
    """Task and its page."""
    notes: Sequence[str]
    chart: Chart | None
    sorted_column: int
    """By which the rows come, as a rule the average; -1 where the user chose another one."""
    is_tall: bool


def make_table(place: Place, layout: Layout) -> Table:
    """What the first page shows of a board."""
    board = place.board
    columns = [Column("trainable", "%", False, True), *metric_columns(board)]
    lines = [_line(entry, place) for entry in place.entries]
    return Table(
        place=place,
        columns=[*columns, Column("seeds", "n"), *COST_COLUMNS],
        methods=[line for line in lines if not line.entry.row.is_floor],
        floors=[line for line in lines if line.entry.row.is_floor],
        majority=_majority(place),
        techniques=sorted({line.technique for line in lines}),
        sharings=sorted({line.sharing for line in lines}),
        tasks=[(task, layout.task_page(task)) for task in board.mains],
        notes=place.sheet.notes,
        chart=make_chart(place),
        sorted_column=-1 if board.order else len(columns) - 1,
        is_tall=len(lines) > TALL,
    )


def _line(entry: Entry, place: Place) -> Line:
    row, board = entry.row, place.board
    return Line(
        entry=entry,
        title=str(row.facts["title"] or row.method),
        technique=str(row.facts["technique"]),
        sharing=str(row.facts["sharing"]),
        is_complete=all(row.stat(metric).n for metric in board.mains.values()),
        cells=[
            percent_cell(row.facts["trainable_percent"]),
            *metric_cells(row, board, entry.href),
            Cell(str(len(row.seeds)), value=len(row.seeds)),
            *cost_cells(row.facts, row.costs),
        ],
    )


def _majority(place: Place) -> list[Cell]:
    board = place.board
    if not has_majority(board):
        return []
    scores = [board.majority[metric] for metric in board.mains.values()]
    cells = [Cell(NONE), *(Cell(number(score), value=score) for score in scores)]
    cells += [Cell(NONE)] * (len(board.mains) > 1) + [Cell(NONE)]
    return [*cells, *(Cell(NONE, is_cost=True) for _ in COST_COLUMNS)]
