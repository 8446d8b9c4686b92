"""Numbers as the pages show them, each with what it is sorted by and where it leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlbench.leaderboard.board import AVERAGE, Board, Row, Stat, is_best
from vlbench.leaderboard.tables import NONE, deviation, number, percent, short_metric


@dataclass(frozen=True)
class Cell:
    """One number of a table."""

    text: str
    tail: str = ""
    """Smaller, behind it: the deviation, or how much is missing."""
    value: float | None = None
    """What it is sorted by; without one it comes last."""
    href: str = ""
    is_below: bool = False
    is_best: bool = False
    is_cost: bool = False
    """Shown on request."""


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    name: str
    unit: str = ""
    is_cost: bool = False
    is_ascending_first: bool = False
    """Whether less is better, so that the first click sorts upwards."""


COST_COLUMNS = (
    Column("trainable", "parameters", True, True),
    Column("adapter", "KB", True, True),
    Column("peak memory", "MB", True, True),
    Column("training", "s", True, True),
    Column("throughput", "examples/s", True),
)


def metric_columns(board: Board) -> list[Column]:
    """A column for each task's main metric, and the average."""
    columns = [Column(task, short_metric(metric, task)) for task, metric in board.mains.items()]
    if len(board.mains) > 1:
        columns.append(Column(AVERAGE, f"{len(board.mains)} tasks"))
    return columns


def metric_cells(row: Row, board: Board, href: str = "") -> list[Cell]:
    """The row's main metrics and average."""
    cells = [stat_cell(board, row, metric, href) for metric in board.mains.values()]
    if len(board.mains) > 1:
        cells.append(average_cell(row, board, href))
    return cells


def average_cell(row: Row, board: Board, href: str = "") -> Cell:
    """The average, or how many tasks are there where some are missing."""
    if row.average.n:
        return stat_cell(board, row, AVERAGE, href)
    there = sum(row.stat(metric).n > 0 for metric in board.mains.values())
    return Cell(NONE, f"{there}/{len(board.mains)}", href=href if there else "")


def stat_cell(board: Board, row: Row, metric: str, href: str = "") -> Cell:
    """A mean over seeds with its deviation, and the n of it where that is not the row's."""
    stat = row.average if metric == AVERAGE else row.stat(metric)
    tail = deviation(stat.std).strip()
    if 0 < stat.n < len(row.seeds):
        tail = f"{tail} n={stat.n}".strip()
    return Cell(
        number(stat.mean),
        tail,
        stat.mean,
        href if stat.n else "",
        metric in row.below_floor,
        is_best(row, metric, board),
    )


def cost_cells(facts: Mapping[str, Any], costs: Mapping[str, Stat]) -> list[Cell]:
    """What a row costs, in the order of COST_COLUMNS."""
    parameters = facts["trainable_parameters"]
    found = {name: stat.mean for name, stat in costs.items()}
    shown = [
        (parameters, 1.0, 0),
        (found.get("adapter_bytes"), 1e-3, 1),
        (found.get("peak_memory_bytes"), 1e-6, 0),
        (found.get("train_seconds"), 1.0, 1),
        (found.get("examples_per_second"), 1.0, 0),
    ]
    return [
        Cell(number(value, scale, digits), value=value, is_cost=True)
        for value, scale, digits in shown
    ]


def percent_cell(value: float | None) -> Cell:
    """Trainable percent: two decimals, or as many as show two digits of a small one."""
    return Cell(percent(value), value=value)
