"""Results to boards: rows over seeds, held against baselines and against the majority answer.

Where a seed has run more than once (other code, say), the newest run counts and a note says so.
Rows are sorted by the normalised score where there is one, else by the average.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vlbench.leaderboard.board import (
    AVERAGE,
    FLOORS,
    SETUP,
    Board,
    Family,
    Ground,
    Name,
    Row,
    Run,
    Stat,
)
from vlbench.leaderboard.normalised import NORMALISED, Ruler, find_ruler
from vlbench.text import printable

COSTS = ("adapter_bytes", "peak_memory_bytes", "train_seconds", "examples_per_second",
         "evaluate_seconds")  # fmt: skip
OF_DATA = ("task", "metric", "family", "main", "n_examples", "majority", "data_fingerprint")
"""Columns that are the same in all runs on the same data."""


def summarise(
    results: pd.DataFrame, suites: Mapping[str, Sequence[str]] | None = None, is_part: bool = False
) -> list[Board]:
    """Make boards of the test rows, complete ones first.

    `suites` holds the tasks of each suite; with `is_part` these are not all of its tasks.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in _read_runs(results):
        groups.setdefault(tuple(run.facts[name] for name in SETUP), []).append(run)
    boards = []
    for setup in sorted(groups, key=lambda setup: (setup[3] != "complete", *map(str, setup))):
        runs, suite = groups[setup], setup[0]
        tasks = list((suites or {}).get(suite, suite.split("+") if "+" in suite else ()))
        tasks += sorted({task for run in runs for task in run.grounds} - set(tasks))
        versions = Counter(name for name, _ in {item for run in runs for item in run.data.items()})
        parts: list[tuple[dict[str, tuple[Any, ...]], list[Run]]] = []
        for run in sorted(runs, key=lambda run: (-len(run.data), sorted(run.data.items()))):
            fits = (p for p in parts if all(p[0].get(k, v) == v for k, v in run.data.items()))
            data, members = next(fits, ({}, []))  # a run that lacks a task joins what it fits
            parts += [(data, members)] if not members else []
            data.update(run.data)
            members.append(run)
        for data, members in parts:
            apart = [
                f"{name} {values[0][:8]}" + (f", {values[2]:,} examples" if values[1:] else "")
                for name, values in sorted(data.items())
                if versions[name] > 1
            ]
            board = _board(setup, members, tasks)
            boards.append(replace(board, apart=", ".join(apart), is_part=is_part))
    return boards


class _Data(NamedTuple):
    """What a run's rows say of their data, shared by the runs that say the same."""

    overall: list[int]  # rows of the main metrics over all examples
    grounds: dict[str, Ground]
    families: dict[Name, Family]


def _read_runs(results: pd.DataFrame) -> list[Run]:
    test = results[results["split"] == "test"]
    test = test.sort_values("key", kind="stable", key=lambda keys: keys.astype(str))
    is_first = ~test["key"].duplicated().to_numpy()
    columns = {name: _cells(test.loc[is_first, name]) for name in test}
    names = list(zip(_cells(test["metric"]), _cells(test["family"]), strict=True))
    values, seconds = _cells(test["value"]), _cells(test["evaluate_seconds"])
    about = list(zip(*(_cells(test[name]) for name in OF_DATA), strict=True))
    data_of, runs = cache(_data), []
    bounds = [*np.flatnonzero(is_first).tolist(), len(test)]
    firsts = zip(*columns.values(), strict=True)
    for cells, (start, end) in zip(firsts, pairwise(bounds), strict=True):
        facts, data = dict(zip(columns, cells, strict=True)), data_of(tuple(about[start:end]))
        own = [seconds[start + row] for row in data.overall]
        facts["evaluate_seconds"] = None if None in own else math.fsum(own)
        is_done = facts["status"] == "done"
        scores = dict(zip(names[start:end], values[start:end], strict=True))
        parts = (scores, data.grounds, data.families) if is_done else ({}, data.grounds, {})
        runs.append(Run(facts["key"], facts, *parts))
    return runs


def _data(about: Sequence[tuple[Any, ...]]) -> _Data:
    data = _Data([], {}, {})
    for number, (task, metric, family, is_main, n_examples, majority, digits) in enumerate(about):
        if is_main:
            data.families[metric, family] = Family(n_examples or 0, majority)
            if not family:
                data.overall.append(number)
                data.grounds[task] = Ground(str(digits), metric, n_examples or 0)
    return data


def _cells(column: pd.Series[Any]) -> list[Any]:
    """The cells as Python has them, None where there is none; each text made printable once."""
    codes, cells = pd.factorize(column)
    shown = [printable(cell) if isinstance(cell, str) else cell for cell in cells.tolist()]
    return list(np.array([*shown, None], dtype=object)[codes])


def _board(setup: Any, runs: Sequence[Run], tasks: Sequence[str]) -> Board:
    by_age = sorted(runs, key=lambda run: (run.is_done, run.age))
    grounds = {task: ground for run in by_age for task, ground in run.grounds.items()}
    mains = {task: grounds[task].metric if task in grounds else task for task in tasks}
    families: dict[Name, Family] = {}
    newest_first = {id(run.families): run.families for run in reversed(by_age)}
    for name, family in (item for part in newest_first.values() for item in part.items()):
        if name not in families or families[name].majority is None:
            families[name] = family
    majority = {metric: _majority(metric, families) for metric in mains.values()}
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in by_age:
        weights = run.facts["init"].partition(" ")[0]  # not their file's name
        method, settings, card = itemgetter("method", "settings", "card_hash")(run.facts)
        groups.setdefault((method, settings, weights, str(card)), []).append(run)
    versions = Counter(group[:3] for group in groups)
    rows: list[Row] = []
    counted: list[Run] = []
    notes: list[str] = []
    for group, members in groups.items():
        newest = {run.facts["seed"]: run for run in members}  # the last is done, if any is
        rows.append(_row(newest, mains.values(), group[3][:8] * (versions[group[:3]] > 1)))
        counted += newest.values()
        label = rows[-1].label
        for seed, run in sorted(newest.items()):
            others = [r.key[:8] for r in members if r.is_done and r.facts["seed"] == seed][:-1]
            if not run.is_done:
                notes.append(f"{label}, seed {seed}: no result ({run.facts['status']}).")
            elif others:
                counts = f"the newest run counts ({run.key[:8]}, not {', '.join(others)})"
                notes.append(f"{label}, seed {seed}: {counts}.")
    ruler = _ruler(rows, majority) if len(mains) > 1 else None
    if ruler and ruler.floors:
        rows = [_normalised(row, ruler, {run.key: run for run in counted}) for row in rows]
    rows = _ranked(rows, [*mains.values()])
    floors = [row for row in rows if row.is_floor]
    rows = [_marked(row, floors, majority) for row in rows]
    suite, backbone, edition, scope, limit = setup
    parts = mains, grounds, families, majority, rows, counted, notes
    board = Board(suite, backbone, edition, scope, limit, "", *parts, ruler)

    def key(row: Row) -> tuple[Any, ...]:
        stats = [row.stat(name) for name in dict.fromkeys([board.ranking, AVERAGE])]
        return row.is_floor, *((not s.n, -(s.mean or 0.0)) for s in stats), row.label

    return replace(board, rows=sorted(rows, key=key))


def _ruler(rows: Sequence[Row], majority: Mapping[str, float | None]) -> Ruler | None:
    """The ruler of the rows without overrides, where full fine-tuning is among them.

    Of several versions of the card of full fine-tuning the newest counts.
    """
    plain = [row for row in rows if row.runs and not row.overrides]
    full = max(
        (row for row in plain if row.method == "full"),
        key=lambda row: str(row.facts["created_at"]),
        default=None,
    )
    if full is None:
        return None
    floors = {}
    for name, answer in majority.items():
        scores = [row.stat(name).mean for row in plain if row.is_floor]
        floors[name] = [score for score in (answer, *scores) if score is not None]
    return find_ruler(full.label, {name: full.stat(name).mean for name in majority}, floors)


def _normalised(row: Row, ruler: Ruler, runs: Mapping[str, Run]) -> Row:
    values = [
        ruler.score({name: runs[key].values.get((name, "")) for name in ruler.floors})
        for key in row.runs.values()
    ]
    return replace(row, normalised=Stat.of(values))


def _ranked(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Rows with win rate and mean rank, among the methods that have all tasks."""
    entries = [row for row in rows if row.average.n and not row.is_floor]
    if len(entries) < 2:
        return list(rows)
    means = np.array([[row.stat(name).mean or 0.0 for name in metrics] for row in entries])
    ranks = pd.DataFrame(-means).rank().mean(axis=1).tolist()
    ranked = {}
    for row, rank in zip(entries, ranks, strict=True):
        win_rate = 100 * (len(entries) - rank) / (len(entries) - 1)
        ranked[row.label] = replace(row, mean_rank=rank, win_rate=win_rate)
    return [ranked.get(row.label, row) for row in rows]


def _row(newest: Mapping[int, Run], mains: Iterable[str], card: str) -> Row:
    done = {seed: run for seed, run in sorted(newest.items()) if run.is_done}
    runs, facts = done.values(), max(newest.values(), key=lambda r: (r.is_done, r.age)).facts
    return Row(
        *(facts["method"], facts["settings"], facts["init"], card, facts),
        runs={seed: run.key for seed, run in done.items()},
        stats={
            name: Stat.of(run.values.get(name) for run in runs)
            for name in sorted({name for run in runs for name in run.values})
        },
        average=Stat.of(run.average(mains) for run in runs),
        costs={name: Stat.of(run.facts[name] for run in runs) for name in COSTS},
    )


def _majority(metric: str, families: Mapping[Name, Family]) -> float | None:
    """The families' majorities weighted by their examples; the overall one where there are none."""
    overall = families.get((metric, ""))
    if overall is None:
        return None
    parts = [part for (name, family), part in families.items() if name == metric and family]
    known = [part.majority for part in parts if part.majority is not None]
    covered = sum(part.n_examples for part in parts)
    if not parts or len(known) < len(parts) or covered != overall.n_examples:
        return overall.majority
    weighted = (m * part.n_examples for m, part in zip(known, parts, strict=True))
    return math.fsum(weighted) / covered


def _marked(row: Row, baselines: Sequence[Row], majority: Mapping[str, float | None]) -> Row:
    """The row, marked where it is at or below the majority answer or a baseline's row.

    Of each baseline those rows count that share most overrides with it, and have no other ones.
    A normalised score of 0 is a floor too.
    """
    floors: list[Row] = []
    for method in FLOORS:
        fair = [r for r in baselines if r.method == method and r.overrides <= row.overrides]
        most = max((len(floor.overrides) for floor in fair), default=0)
        floors += [r for r in fair if len(r.overrides) == most and r is not row]
    below, near = set(), set()
    for name in (*majority, AVERAGE, NORMALISED):
        stat = row.stat(name)
        answers = [majority.get(name), *(floor.stat(name).mean for floor in floors)]
        answers += [0.0] * (name == NORMALISED)
        scores = [score for score in answers if score is not None]
        if stat.mean is not None and scores:
            above = stat.mean - max(scores)
            below |= {name} if above <= 0 else set()
            near |= {name} if above <= (stat.std or 0.0) else set()
    return replace(row, below_floor=frozenset(below), near_floor=frozenset(near))
