"""The boards of a results folder that the filters leave."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.errors import DataError, NothingToReport, UsageError, nearest
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.selection import select
from vlbench.leaderboard.summary import COSTS, Board, Row, summarise
from vlbench.leaderboard.ties import with_ties


class Filters(NamedTuple):
    """Which results are meant."""

    tasks: Sequence[str] = ()
    backbone: Sequence[str] = ()
    edition: Sequence[str] = ()
    include: Sequence[str] = ()
    backbones: Iterable[str] = ()
    """The backbones there are."""
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()
    max_trainable: float | None = None
    """Rows that train at most so many percent of the parameters."""
    sort: str = ""
    """The column to order the rows by; empty: the average."""


def read_boards(
    results: Path,
    filters: Filters,
    examples: Examples | None = None,
    damaged: list[DataError] | None = None,
) -> list[Board]:
    """The boards; NothingToReport where the filters leave nothing.

    With `examples` they have tie groups. Those and the floors are of all rows, so a method's marks
    do not depend on which others are shown. `damaged` is as in `read_results`.
    """
    chosen = select(
        read_results(results, damaged),
        results,
        methods=filters.methods,
        tasks=filters.tasks,
        backbone=",".join(filters.backbone),
        backbones=filters.backbones,
        edition=",".join(filters.edition),
        include=filters.include,
        seeds=filters.seeds,
    )
    boards = summarise(chosen.rows, chosen.suites, chosen.is_part)
    if examples is not None:
        boards = [with_ties(board, examples) for board in boards]
    shown = [_only(board, filters, chosen.methods) for board in boards]
    shown = [board for board in shown if board.rows]
    if not shown:
        _refuse_few(boards, results, filters.max_trainable)
    return _sorted(shown, filters.sort) if filters.sort else shown


def _only(board: Board, filters: Filters, methods: Sequence[str]) -> Board:
    """The board with the rows of these methods, or all, that train few enough parameters."""
    rows = [row for row in board.rows if not methods or row.method in methods]
    if filters.max_trainable is not None:
        rows = [row for row in rows if _trainable(row, math.inf) <= filters.max_trainable]
    if len(rows) == len(board.rows):
        return board
    shown = {(row.method, row.settings) for row in rows}
    count = f"{len(rows)} of {len(board.rows)} rows are shown; marks are those of the whole table."
    return replace(
        board,
        rows=rows,
        marked=board.rows,
        runs=[run for run in board.runs if (run.facts["method"], run.facts["settings"]) in shown],
        notes=[*board.notes, count],
    )


def _trainable(row: Row, unknown: float) -> float:
    percent = row.facts["trainable_percent"]
    return unknown if percent is None else float(percent)


def _refuse_few(boards: Sequence[Board], results: Path, most: float | None) -> None:
    percents = [_trainable(row, math.inf) for board in boards for row in board.rows]
    raise NothingToReport(
        f"{results}: No row trains at most {most:g} % of the parameters; the least is "
        f"{min(percents):.2f} %."
    )


def _sorted(boards: Sequence[Board], column: str) -> list[Board]:
    """The boards by a column, best or cheapest first; those without it stay as they are."""
    name = ".".join(column.lower().rstrip("% ").split()).removesuffix("_percent")
    known = {each for board in boards for each in _columns(board)}
    if name not in known:
        raise UsageError(f"--sort {column}: Unknown column '{column}'. {nearest(name, known)}")

    def ordered(board: Board) -> Board:
        if name not in _columns(board):
            return board

        def place(row: Row) -> tuple[Any, ...]:
            value = _value(row, board.mains.get(name, name))
            return row.is_floor, value is None, value or 0, row.label

        return replace(board, rows=sorted(board.rows, key=place), order=name)

    return [ordered(board) for board in boards]


def _columns(board: Board) -> set[str]:
    """What a board can be sorted by; a task's name is its main metric."""
    metrics = {metric for row in board.rows for metric, family in row.stats if not family}
    average = {AVERAGE} if len(board.mains) > 1 else set()
    return {"method", "trainable", "seeds", *board.mains, *metrics, *average, *COSTS}


def _value(row: Row, column: str) -> str | float | None:
    """What a row is sorted by: the smallest comes first."""
    if column == "method":
        return row.label
    if column == "trainable":
        return row.facts["trainable_percent"]  # type: ignore[no-any-return]
    if column == "seeds":
        return -len(row.seeds)
    if column in COSTS and column != "examples_per_second":
        return row.costs[column].mean
    stat = (
        row.costs[column]
        if column in COSTS
        else row.average
        if column == AVERAGE
        else row.stat(column)
    )
    return None if stat.mean is None else -stat.mean
