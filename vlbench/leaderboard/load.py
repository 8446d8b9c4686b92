"""Boards of a results folder, as filters leave them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.cards import find_tasks, load_suites
from vlbench.cards.load import is_path, known_names, own_cards, split_names
from vlbench.errors import DataError, NothingToReport, UsageError, nearest
from vlbench.leaderboard.board import AVERAGE, Board, Row
from vlbench.leaderboard.examples import Examples, with_ties
from vlbench.leaderboard.normalised import NORMALISED
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.summarise import summarise
from vlbench.leaderboard.trials import with_trials


class Filters(NamedTuple):
    """Which results are meant: names, comma lists or several of them; empty is all."""

    tasks: Sequence[str] = ()
    backbone: Sequence[str] = ()
    edition: Sequence[str] = ()
    include: Sequence[str] = ()
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()
    max_trainable: float | None = None  # percent of the parameters that a row trains at most
    sort: str = ""  # column to order the rows by; empty: the board's own


def read_boards(
    results: Path,
    filters: Filters,
    examples: Examples | None = None,
    damaged: list[DataError] | None = None,
) -> list[Board]:
    """Read the boards; NothingToReport where the filters leave nothing.

    With `examples` they have tie groups. Those and the baselines are of all rows, so a method's
    marks do not depend on which others are shown. `damaged` is as in `read_results`. A task that is
    no suite of its own in the results is shown alone out of the suites that have it.
    """
    everything = rows = read_results(results, damaged)
    names = ("suite", "task", "backbone", "edition", "scope", "method")
    stored = {name: {*rows[name].unique()} for name in names}
    suite = "+".join(split_names(filters.tasks)) if filters.tasks else ""
    if suite not in {"", *stored["suite"]}:
        suite = find_tasks(filters.tasks)[0]
    is_part = suite not in {"", *stored["suite"]} and suite in stored["task"]
    named = split_names(filters.methods) if filters.methods else []
    paths = [Path(name) for name in split_names(filters.backbone)] if any(filters.backbone) else []
    backbones = [path.stem if path.suffix == ".toml" else path.name for path in paths]
    methods = [method_name(name, stored["method"]) for name in named]
    selected: dict[str, Sequence[Any]] = {
        "scope": ["complete", *known_in({"smoke"}, "include", filters.include)],
        "task" if is_part else "suite": [suite] if suite else [],
        "backbone": known_in({*own_cards("backbones"), *stored["backbone"]}, "backbone", backbones),
        "edition": known_in({"mini", "full", *stored["edition"]}, "edition", filters.edition),
        "seed": filters.seeds,
    }
    for column, values in selected.items():
        rows = rows[rows[column].isin(values)] if values else rows
    suites = {name: (suite,) for name in rows["suite"].unique()} if is_part else suite_tasks()
    boards = with_trials(summarise(rows, suites, is_part), everything)
    if examples is not None:
        boards = [with_ties(board, examples) for board in boards]
    boards = [_only(board, methods, filters.max_trainable) for board in boards]
    boards = [board for board in boards if board.rows]
    if not boards:
        limits = [] if filters.max_trainable is None else [f"{filters.max_trainable:g} %"]
        selected |= {"method": methods, "trainable at most": limits}
        texts = [f"{name} {', '.join(map(str, own))}" for name, own in selected.items() if own]
        lines = [f"{results}: No results for {'; '.join(texts)}. There is:"]
        for setup, part in everything.groupby(["suite", "backbone", "edition", "scope"]):
            lines.append(f"  {' / '.join(setup)}: {', '.join(sorted(part['method'].unique()))}")
        if "smoke" in stored["scope"] - {*selected["scope"]}:
            lines.append("Smoke results (from --limit) are shown with --include smoke.")
        raise NothingToReport("\n".join(lines))
    return [_sorted(board, boards, filters.sort) for board in boards] if filters.sort else boards


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


def known_in(known: Iterable[str], option: str, texts: Sequence[str]) -> list[str]:
    """Return the names that an option gives, all of which are known."""
    names = split_names(texts) if any(texts) else []
    for name in names:
        if name not in known:
            raise UsageError(f"--{option} {name}: Unknown name '{name}'. {nearest(name, known)}")
    return names


def _only(board: Board, methods: Sequence[str], max_trainable: float | None) -> Board:
    rows = [row for row in board.rows if not methods or row.method in methods]
    if max_trainable is not None:
        percents = [(row, row.facts["trainable_percent"]) for row in rows]
        rows = [row for row, p in percents if p is not None and p <= max_trainable]
    if len(rows) == len(board.rows):
        return board
    keys = {key for row in rows for key in row.runs.values()}
    runs = [run for run in board.runs if run.key in keys]
    count = f"{len(rows)} of {len(board.rows)} rows are shown; marks are those of the whole table."
    return replace(board, rows=rows, marked=board.rows, runs=runs, notes=[*board.notes, count])


def _sorted(board: Board, boards: Sequence[Board], column: str) -> Board:
    """Order the rows by a column that some board has, best or cheapest first; floors come last."""
    known = {"method", "trainable", AVERAGE, *(task for other in boards for task in other.mains)}
    known |= {NORMALISED} & {name for other in boards for name in other.columns}
    if column not in known:
        raise UsageError(f"--sort {column}: Unknown column '{column}'. {nearest(column, known)}")

    def key(row: Row) -> tuple[Any, ...]:
        mean = row.stat(board.mains.get(column, column)).mean
        values = {"method": row.label, "trainable": row.facts["trainable_percent"]}
        value = values.get(column, mean and -mean)
        return row.is_floor, value is None, value or 0

    return replace(board, rows=sorted(board.rows, key=key), order=column)
