"""The boards of a results folder that the filters leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vlbench.errors import DataError
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.selection import select
from vlbench.leaderboard.summary import Board, summarise
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
    return [_only(board, chosen.methods) for board in boards if _has(board, chosen.methods)]


def _has(board: Board, methods: Sequence[str]) -> bool:
    return not methods or any(row.method in methods for row in board.rows)


def _only(board: Board, methods: Sequence[str]) -> Board:
    """The board with the rows of these methods."""
    if not methods or all(row.method in methods for row in board.rows):
        return board
    rows = [row for row in board.rows if row.method in methods]
    count = f"{len(rows)} of {len(board.rows)} rows are shown; marks are those of the whole table."
    return replace(
        board,
        rows=rows,
        runs=[run for run in board.runs if run.facts["method"] in methods],
        notes=[*board.notes, count],
    )
