"""Tables of the pages: their columns, and each number with its sort key and its link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlbench.leaderboard.board import AVERAGE, Board, Row, Stat, is_best
from vlbench.leaderboard.paper import PaperRow
from vlbench.leaderboard.tables import NONE, deviation, has_majority, number, percent, short_metric

Context = dict[str, Any]
"""Values of a template by name."""


@dataclass(frozen=True)
class Cell:
    """One number of a table."""

    text: str
    tail: str = ""
    """Smaller, behind it: the deviation, or how much is missing."""
    value: float | None = None
    """The sort key; without one it comes last."""
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


@dataclass(frozen=True)
class Entry:
    """A row of a board, and its section on its method's page."""

    row: Row
    anchor: str
    page: str
    """From the top of the site."""

    @property
    def href(self) -> str:
        """Address of the section."""
        return f"{self.page}#{self.anchor}"

    @property
    def key(self) -> str:
        """The run of the first seed; empty where none has ended."""
        return self.row.runs[min(self.row.runs)] if self.row.runs else ""


@dataclass(frozen=True)
class Listing:
    """A board, and its section on the first page."""

    board: Board
    anchor: str
    title: str
    entries: Sequence[Entry]


def metric_columns(board: Board) -> list[Column]:
    """A column for each task's main metric, and the average."""
    columns = [Column(task, short_metric(metric, task)) for task, metric in board.mains.items()]
    average = [Column(AVERAGE, f"{len(board.mains)} tasks")]
    return columns + average if len(board.mains) > 1 else columns


def metric_cells(row: Row, board: Board, href: str = "") -> list[Cell]:
    """The row's main metrics and average; how many tasks there are where some are missing."""
    cells = [stat_cell(board, row, metric, href) for metric in board.mains.values()]
    if len(cells) > 1 and row.average.n:
        cells.append(stat_cell(board, row, AVERAGE, href))
    elif len(cells) > 1:
        n_scored = sum(cell.value is not None for cell in cells)
        cells.append(Cell(NONE, f"{n_scored}/{len(cells)}", href=href if n_scored else ""))
    return cells


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
    """The costs of a row, in the order of COST_COLUMNS."""
    means = {name: stat.mean for name, stat in costs.items()}
    costs_by_column = [
        (facts["trainable_parameters"], 1.0, 0),
        (means.get("adapter_bytes"), 1e-3, 1),
        (means.get("peak_memory_bytes"), 1e-6, 0),
        (means.get("train_seconds"), 1.0, 1),
        (means.get("examples_per_second"), 1.0, 0),
    ]
    return [
        Cell(number(v, scale, digits), value=v, is_cost=True)
        for v, scale, digits in costs_by_column
    ]


def percent_cell(value: float | None) -> Cell:
    """Trainable percent: two decimals, or as many as show two digits of a small one."""
    return Cell(percent(value), value=value)


def majority_cells(board: Board) -> list[Cell]:
    """The scores of always giving the most frequent answer; none where unknown."""
    if not has_majority(board):
        return []
    scores = [board.majority[metric] for metric in board.mains.values()]
    cells = [Cell(NONE), *(Cell(number(score), value=score) for score in scores)]
    cells += [Cell(NONE)] * (len(board.mains) > 1) + [Cell(NONE)]
    return [*cells, *(Cell(NONE, is_cost=True) for _ in COST_COLUMNS)]


def metrics_grid(listing: Listing, task: str) -> Context:
    """All of the task's metrics, the main one first, by method."""
    board, main = listing.board, listing.board.mains[task]
    names = {name for entry in listing.entries for name, family in entry.row.stats if not family}
    others = sorted(name for name in names if name.startswith(f"{task}.") and name != main)
    metrics = [main, *others]
    majority = board.majority.get(main)
    floor = [Cell(NONE), Cell(number(majority)), *(Cell(NONE) for _ in others)]
    lines = [
        (
            entry,
            [
                percent_cell(entry.row.facts["trainable_percent"]),
                *(stat_cell(board, entry.row, name, f"../{entry.href}") for name in metrics),
            ],
        )
        for entry in _ranked(listing, main)
    ]
    columns = [Column("trainable", "%"), *(Column(short_metric(n, task) or task) for n in metrics)]
    return {
        "columns": columns,
        "floor": [] if majority is None else floor,
        "lines": lines,
        "sorted_column": 1,
    }


def families_grid(listing: Listing, task: str) -> Context | None:
    """The main metric by question family and method; None where the task has no families."""
    board, main = listing.board, listing.board.mains[task]
    families = sorted(family for metric, family in board.families if metric == main and family)
    majorities = [board.families[main, name].majority for name in families]
    lines = []
    for entry in _ranked(listing, main):
        cells = []
        for name, majority in zip(families, majorities, strict=True):
            mean = entry.row.stat(main, name).mean
            is_below = mean is not None and majority is not None and mean <= majority
            cells.append(Cell(number(mean), value=mean, is_below=is_below))
        lines.append((entry, cells))
    columns = [Column(name, f"n={board.families[main, name].n_examples:,}") for name in families]
    floor = [Cell(number(majority)) for majority in majorities]
    grid = {"columns": columns, "floor": floor, "lines": lines, "sorted_column": -1}
    return grid if families else None


def _ranked(listing: Listing, metric: str) -> list[Entry]:
    """Best first, rows without the metric and then floors last."""

    def rank(entry: Entry) -> tuple[bool, float]:
        mean = entry.row.stat(metric).mean
        return entry.row.is_floor, float("inf") if mean is None else -mean

    return sorted(listing.entries, key=rank)


def paper_table(suite: str, rows: Sequence[PaperRow], pages: Mapping[str, str]) -> Context:
    """Rows that stand in one table of one paper, were trained by the same and read alike."""
    names = sorted({name: None for row in rows for name in row.metrics}, key=AVERAGE.__eq__)
    columns = [Column("trainable", "%", False, True)]
    columns += [Column(n.partition(".")[0], short_metric(n, n.partition(".")[0])) for n in names]
    groups: dict[tuple[str, str], list[Context]] = {}
    for row in rows:
        ablation = " (ablation)" if row.kind == "analysis" else ""
        by = "" if row.run_by == row.paper else f"Run by {row.run_by}. "
        heading = f"{row.paper}, {row.table}{ablation}: {row.backbone}"
        cells = [percent_cell(row.trainable_percent)]
        for name in names:
            mean, std = row.metrics.get(name, (None, None))
            tail = "" if std is None else f"±{std:.2f}"
            cells.append(Cell(number(mean, digits=2), tail, mean))
        cells.append(Cell(str(row.seeds), value=row.seeds))
        line = {"row": row, "href": pages.get(row.method or "", ""), "cells": cells}
        groups.setdefault((heading, f"{by}Read from {row.strength}."), []).append(line)
    return {"suite": suite, "columns": [*columns, Column("seeds", "n")], "groups": groups}
