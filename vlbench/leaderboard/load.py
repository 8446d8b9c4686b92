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
from vlbench.leaderboard.board import Board, Row, summarise
from vlbench.leaderboard.examples import Examples, with_ties
from vlbench.leaderboard.results import read_results

EDITIONS = ("mini", "full")
SCOPES = ("smoke",)
"""Scopes that a report leaves out unless they are included."""


class Filters(NamedTuple):
    """Which results are meant: names, comma lists or several of them; empty is all."""

    tasks: Sequence[str] = ()
    backbone: Sequence[str] = ()
    edition: Sequence[str] = ()
    include: Sequence[str] = ()
    backbones: Iterable[str] = ()  # every backbone that vlbench has
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()
    max_trainable: float | None = None  # percent of the parameters that a row trains at most
    sort: str = ""  # column to order the rows by; empty: the average


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
    rows, methods, suites, is_part = _select(read_results(results, damaged), results, filters)
    boards = summarise(rows, suites, is_part)
    if examples is not None:
        boards = [with_ties(board, examples) for board in boards]
    left = [_only(board, methods, filters.max_trainable) for board in boards]
    left = [board for board in left if board.rows]
    if not left:
        least = min(_trainable(row) for board in boards for row in board.rows)
        raise NothingToReport(
            f"{results}: No row trains at most {filters.max_trainable:g} % of the parameters; the "
            f"least is {least:.2f} %."
        )
    return _sorted(left, filters.sort) if filters.sort else left


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


def _select(
    results: pd.DataFrame, folder: Path, filters: Filters
) -> tuple[pd.DataFrame, Sequence[str], Mapping[str, Sequence[str]], bool]:
    """Select rows of all methods; an unknown name or an empty rest is an error.

    Returns them with the methods to show (empty: all), the tasks of each suite as far as they are
    to be shown, and whether these are not all of a suite's: a task that is no suite of its own in
    the results is shown alone out of the suites that have it.
    """
    suite = "+".join(split_names(filters.tasks)) if filters.tasks else ""
    if suite not in {"", *results["suite"]}:
        suite = find_tasks(filters.tasks)[0]
    is_part = suite not in {"", *results["suite"]} and suite in set(results["task"])
    backbones, editions = (
        {*filters.backbones, *results["backbone"]},
        {*EDITIONS, *results["edition"]},
    )
    selected: dict[str, Sequence[Any]] = {
        "scope": ["complete", *_known("include", filters.include, SCOPES)],
        "task" if is_part else "suite": [suite] if suite else [],
        "backbone": _known("backbone", filters.backbone, backbones),
        "edition": _known("edition", filters.edition, editions),
        "seed": filters.seeds,
    }
    rows = results
    for column, names in selected.items():
        rows = rows[rows[column].isin(names)] if names else rows
    named = split_names(filters.methods) if filters.methods else []
    methods = [method_name(name, results["method"]) for name in named]
    if rows.empty or (methods and not rows["method"].isin(methods).any()):
        raise NothingToReport(_empty(results, folder, {**selected, "method": methods}))
    suites = {name: (suite,) for name in set(rows["suite"])} if is_part else suite_tasks()
    return rows, methods, suites, is_part


def _known(option: str, texts: Sequence[str], known: Iterable[str]) -> list[str]:
    names = split_names(texts) if any(texts) else []
    for name in names:
        if name not in known:
            what = "scope" if option == "include" else option
            raise UsageError(f"--{option} {name}: Unknown {what} '{name}'. {nearest(name, known)}")
    return names


def _empty(results: pd.DataFrame, folder: Path, selected: Mapping[str, Sequence[Any]]) -> str:
    """What was searched for, and what the folder has."""
    filters = [
        f"{column} {', '.join(map(str, names))}" for column, names in selected.items() if names
    ]
    lines = [f"{folder}: No results for {'; '.join(filters)}. There is:"]
    for setup, rows in results.groupby(["suite", "backbone", "edition", "scope"]):
        lines.append(f"  {' / '.join(setup)}: {', '.join(sorted(set(rows['method'])))}")
    if set(results["scope"]) & set(SCOPES) - set(selected["scope"]):
        lines.append("Smoke results (from --limit) are shown with --include smoke.")
    return "\n".join(lines)


def _only(board: Board, methods: Sequence[str], max_trainable: float | None) -> Board:
    """The board with the rows of these methods, or all, that train few enough parameters."""
    most = math.inf if max_trainable is None else max_trainable
    rows = [row for row in board.rows if not methods or row.method in methods]
    rows = [row for row in rows if _trainable(row) <= most]
    if len(rows) == len(board.rows):
        return board
    keys = {key for row in rows for key in row.runs.values()}
    runs = [run for run in board.runs if run.key in keys]
    count = f"{len(rows)} of {len(board.rows)} rows are shown; marks are those of the whole table."
    return replace(board, rows=rows, marked=board.rows, runs=runs, notes=[*board.notes, count])


def _trainable(row: Row) -> float:
    percent = row.facts["trainable_percent"]
    return math.inf if percent is None else float(percent)


def _sorted(boards: Sequence[Board], column: str) -> list[Board]:
    """Order the rows by a column, best or cheapest first; boards without it stay as they are."""
    name = ".".join(column.lower().rstrip("% ").split()).removesuffix("_percent")
    known = {name for board in boards for row in board.rows for name in _sort_values(row, board)}
    if name not in known:
        raise UsageError(f"--sort {column}: Unknown column '{column}'. {nearest(name, known)}")

    def ordered(board: Board) -> Board:
        values = {row.label: _sort_values(row, board) for row in board.rows}

        def key(row: Row) -> tuple[Any, ...]:
            value = values[row.label].get(name)
            return row.is_floor, value is None, value or 0, row.label

        has_it = any(name in row for row in values.values())
        return replace(board, rows=sorted(board.rows, key=key), order=name) if has_it else board

    return list(map(ordered, boards))


def _sort_values(row: Row, board: Board) -> dict[str, Any]:
    """What a row is sorted by, for each column: the smallest comes first."""
    best = {metric: stat.mean for (metric, family), stat in row.stats.items() if not family}
    best |= {metric: row.stat(metric).mean for metric in board.columns}
    best |= {task: row.stat(metric).mean for task, metric in board.mains.items()}
    costs = {name: stat.mean for name, stat in row.costs.items()}
    best["examples_per_second"] = costs["examples_per_second"]
    return {
        "method": row.label,
        "trainable": row.facts["trainable_percent"],
        "seeds": -len(row.seeds),
        **costs,
        **{name: None if mean is None else -mean for name, mean in best.items()},
    }
