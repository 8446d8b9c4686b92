"""Boards of a results folder, as filters leave them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from vlbench.cards import find_tasks, load_suites
from vlbench.cards.load import is_path, known_names, split_names
from vlbench.errors import DataError, NothingToReport, UsageError, nearest
from vlbench.leaderboard.board import AVERAGE, COSTS, Board, Row, summarise
from vlbench.leaderboard.examples import Examples, with_ties
from vlbench.leaderboard.results import read_results

EDITIONS = ("mini", "full")
SCOPES = ("smoke",)
"""Scopes that a report leaves out unless they are included."""
_Selected = tuple[pd.DataFrame, Sequence[str], Mapping[str, Sequence[str]], bool]


class Filters(NamedTuple):
    """Which results are meant: names, comma lists or several of them; empty is all."""

    tasks: Sequence[str] = ()
    backbone: Sequence[str] = ()
    edition: Sequence[str] = ()
    include: Sequence[str] = ()
    backbones: Iterable[str] = ()
    """Every backbone that vlbench has."""
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
    """Read the boards; NothingToReport where the filters leave nothing.

    With `examples` they have tie groups. Those and the baselines are of all rows, so a method's
    marks do not depend on which others are shown. `damaged` is as in `read_results`.
    """
    rows, methods, suites, is_part = select(read_results(results, damaged), results, filters)
    boards = summarise(rows, suites, is_part)
    if examples is not None:
        boards = [with_ties(board, examples) for board in boards]
    shown = [_only(board, methods, filters.max_trainable) for board in boards]
    shown = [board for board in shown if board.rows]
    if not shown:
        least = min(_trainable(row) for board in boards for row in board.rows)
        raise NothingToReport(
            f"{results}: No row trains at most {filters.max_trainable:g} % of the parameters; the "
            f"least is {least:.2f} %."
        )
    return _sorted(shown, filters.sort) if filters.sort else shown


def select(results: pd.DataFrame, folder: Path, filters: Filters) -> _Selected:
    """Select rows of all methods; an unknown name or an empty rest is an error.

    Returns them with the methods to show (empty: all), the tasks of each suite, as far as they are
    to be shown, and whether these are not all of a suite's.

    A task that is no suite of its own in the results is shown alone out of the suites that have it.
    """
    suite = _suite(filters.tasks, results["suite"]) if filters.tasks else ""
    is_part = bool(suite) and suite not in set(results["suite"]) and suite in set(results["task"])
    wanted: dict[str, Sequence[Any]] = {
        "scope": ["complete", *_known("scope", filters.include, SCOPES)],
        "task" if is_part else "suite": [suite] if suite else [],
        "backbone": _known("backbone", filters.backbone, results["backbone"], filters.backbones),
        "edition": _known("edition", filters.edition, results["edition"], EDITIONS),
        "seed": filters.seeds,
    }
    rows = results
    for column, names in wanted.items():
        if names:
            rows = rows[rows[column].isin(names)]
    names = split_names(filters.methods) if filters.methods else []
    methods = [method_name(name, results["method"]) for name in names]
    if rows.empty or (methods and not rows["method"].isin(methods).any()):
        raise NothingToReport(_empty(results, folder, {**wanted, "method": methods}))
    suites = {name: (suite,) for name in set(rows["suite"])} if is_part else suite_tasks()
    return rows, methods, suites, is_part


def suite_tasks() -> dict[str, Sequence[str]]:
    """Tasks of the suites that have cards."""
    return {name: suite.tasks for name, suite in load_suites().items()}


def method_name(name: str, known: Iterable[str]) -> str:
    """Return a method's name in results: as it is, by an alias, or by the path of its card."""
    if name in set(known):
        return name
    if is_path(name):
        return Path(name).stem
    cards = known_names("methods")
    if name in cards:
        return cards[name].name
    raise UsageError(f"--method {name}: Unknown method '{name}'. {nearest(name, {*cards, *known})}")


def _suite(tasks: Sequence[str], known: Iterable[str]) -> str:
    """The suite's name in the results: as it is, or as the task cards give it."""
    name = "+".join(split_names(tasks))
    return name if name in set(known) else find_tasks(tasks)[0]


def _known(what: str, texts: Sequence[str], *lists: Iterable[str]) -> list[str]:
    known = {name for names in lists for name in names}
    names = split_names(",".join(texts)) if any(texts) else []
    for name in names:
        if name not in known:
            option = "include" if what == "scope" else what
            raise UsageError(f"--{option} {name}: Unknown {what} '{name}'. {nearest(name, known)}")
    return names


def _empty(results: pd.DataFrame, folder: Path, wanted: Mapping[str, Sequence[Any]]) -> str:
    """What was searched for, and what the folder has."""
    filters = [
        f"{column} {', '.join(map(str, names))}" for column, names in wanted.items() if names
    ]
    lines = [f"{folder}: No results for {'; '.join(filters)}. There is:"]
    for place, rows in results.groupby(["suite", "backbone", "edition", "scope"]):
        lines.append(f"  {' / '.join(place)}: {', '.join(sorted(set(rows['method'])))}")
    if set(results["scope"]) & set(SCOPES) - set(wanted["scope"]):
        lines.append("Smoke results (from --limit) are shown with --include smoke.")
    return "\n".join(lines)


def _only(board: Board, methods: Sequence[str], max_trainable: float | None) -> Board:
    """The board with the rows of these methods, or all, that train few enough parameters."""
    rows = [row for row in board.rows if not methods or row.method in methods]
    if max_trainable is not None:
        rows = [row for row in rows if _trainable(row) <= max_trainable]
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


def _trainable(row: Row) -> float:
    percent = row.facts["trainable_percent"]
    return math.inf if percent is None else float(percent)


def _sorted(boards: Sequence[Board], column: str) -> list[Board]:
    """The boards by a column, best or cheapest first; those without it stay as they are."""
    name = ".".join(column.lower().rstrip("% ").split()).removesuffix("_percent")
    known = {other for board in boards for other in _columns(board)}
    if name not in known:
        raise UsageError(f"--sort {column}: Unknown column '{column}'. {nearest(name, known)}")

    def ordered(board: Board) -> Board:
        if name not in _columns(board):
            return board

        def key(row: Row) -> tuple[Any, ...]:
            value = _value(row, board.mains.get(name, name))
            return row.is_floor, value is None, value or 0, row.label

        return replace(board, rows=sorted(board.rows, key=key), order=name)

    return [ordered(board) for board in boards]


def _columns(board: Board) -> set[str]:
    """What a board can be sorted by; a task's name is its main metric."""
    metrics = {metric for row in board.rows for metric, family in row.stats if not family}
    average = {AVERAGE} if len(board.mains) > 1 else set()
    return {"method", "trainable", "seeds", *board.mains, *metrics, *average, *COSTS}


def _value(row: Row, column: str) -> Any:
    """What a row is sorted by: the smallest comes first."""
    if column == "method":
        return row.label
    if column == "trainable":
        return row.facts["trainable_percent"]
    if column == "seeds":
        return -len(row.seeds)
    mean = row.costs[column].mean if column in COSTS else row.stat(column).mean
    is_cost = column in COSTS and column != "examples_per_second"
    return mean if is_cost or mean is None else -mean
