"""Boards: results over seeds, held against baselines and against the majority answer.

A board holds numbers that can be compared: one suite, backbone, edition, scope, limit and data.
A row of a board is one method with its settings, from scratch or from the same weights, as one
version of its cards; where a card has changed, the old and the new version are two rows. Where one
seed of a row has run more than once (other code, say), the newest run counts and a note says so.
The average of a suite is the plain mean of its tasks' main metrics, taken per seed, and only where
all of its tasks are there.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vlbench.parquet import COLUMNS
from vlbench.text import printable

AVERAGE = "average"
"""Name of the average among the metrics of a row."""
FLOORS = ("frozen", "blind")
"""Baselines to be beaten: only the visual embedding trains, or no picture is seen."""
BEST = "*"
BELOW = "↓"
COSTS = (
    "adapter_bytes", "peak_memory_bytes", "train_seconds", "examples_per_second",
    "evaluate_seconds",
)  # fmt: skip
PLACE = ("suite", "backbone", "edition", "scope", "limit")
"""What all runs of a board have in common."""
OTHER_WEIGHTS = "Runs on other weights of this backbone stand in another table."
OTHER_DATA = "Runs of this suite on other data stand in another table: do not compare the two."

INTEGERS = frozenset(column.name for column in COLUMNS if column.type == "int64")
OF_ROWS = (
    "status", "task", "metric", "main", "family", "value", "majority", "n_examples",
    "evaluate_seconds", "data_fingerprint", "card_hash",
)  # fmt: skip
"""The columns in which rows of a run differ."""


class Stat(NamedTuple):
    """Mean and sample standard deviation over `n` seeds; a single one has no deviation."""

    mean: float | None
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Stat:
        """Compute the statistics of the values that are not None."""
        known = [value for value in values if value is not None]
        if not known:
            return NOTHING
        mean = statistics.fmean(known)
        squares = math.fsum((value - mean) ** 2 for value in known)
        std = math.sqrt(squares / (len(known) - 1)) if len(known) > 1 else None
        return cls(mean, std, len(known))


NOTHING = Stat(mean=None, std=None, n=0)


class Family(NamedTuple):
    """A question family: its examples, and what always giving the most frequent answer scores."""

    n_examples: int
    majority: float | None


class Ground(NamedTuple):
    """Reference data of a task: values on other data do not belong in its column."""

    data_fingerprint: str
    metric: str
    n_examples: int


@dataclass(frozen=True)
class Run:
    """One run: what is the same in all of its rows, and its test values."""

    key: str
    facts: Mapping[str, Any]
    values: Mapping[tuple[str, str], float | None]
    """By metric and family; family "" is all examples."""
    mains: Mapping[str, str]
    """The main metric by task."""
    grounds: Mapping[str, Ground]
    """By task."""
    families: Mapping[tuple[str, str], Family]
    """By main metric and family; family "" is all examples."""
    card: str
    """The hashes of its cards."""

    @property
    def is_done(self) -> bool:
        """Whether the run has values at all."""
        return bool(self.facts["status"] == "done")

    @property
    def age(self) -> tuple[str, int]:
        """Sort key of runs from old to new."""
        return str(self.facts["created_at"]), self.facts["attempt"] or 0

    def average(self, metrics: Iterable[str]) -> float | None:
        """Plain mean of these metrics, None unless all of them have a value."""
        values = [self.values.get((metric, "")) for metric in metrics]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known and len(known) == len(values) else None


@dataclass(frozen=True)
class Row:
    """One method of a board, over its seeds."""

    method: str
    settings: str
    card: str
    """Short hash of the cards where a board has several versions of this method, else empty."""
    facts: Mapping[str, Any]
    """The columns that are the same for all seeds, of the newest run."""
    seeds: tuple[int, ...]
    stats: Mapping[tuple[str, str], Stat]
    """By metric and family; family "" is all examples."""
    average: Stat
    costs: Mapping[str, Stat]
    init: str = ""
    """The weights its runs started from, as the column `init` has them; empty: from scratch."""
    below_floor: frozenset[str] = frozenset()
    """Main metrics (and "average") that are at or below a baseline."""
    near_floor: frozenset[str] = frozenset()
    """Those, and what is no more than its deviation over seeds above one: never the best."""
    runs: Mapping[int, str] = field(default_factory=dict)
    """The keys of the runs that count, by seed."""
    ties: Mapping[str, int] = field(default_factory=dict)
    """By main metric (and "average"): 1 for the best and what the test cannot tell from it, 2 for
    the best of the rest and so on; nothing where it was not tested."""

    @property
    def is_floor(self) -> bool:
        """Whether the row is a baseline to be beaten."""
        return self.method in FLOORS

    @property
    def overrides(self) -> frozenset[str]:
        """Each `--set` of its runs, and the weights they started from."""
        digits = self.init.partition(" ")[0]
        return frozenset([*split_overrides(self.settings), *([f"from={digits}"] if digits else [])])

    @property
    def details(self) -> str:
        """What tells the row from others of its method: ` (params.reduction=4)`, or nothing."""
        digits, _, file = self.init.partition(" ")
        origin = f"from {file} {digits[:8]}" if self.init else ""
        parts = [self.settings, origin, f"card {self.card}" if self.card else ""]
        text = ", ".join(part for part in parts if part)
        return f" ({text})" if text else ""

    @property
    def label(self) -> str:
        """What a table calls the row."""
        return self.method + self.details

    def stat(self, metric: str, family: str = "") -> Stat:
        """Statistics of a metric or of the average, empty where it was not measured."""
        return self.average if metric == AVERAGE else self.stats.get((metric, family), NOTHING)


@dataclass(frozen=True)
class Board:
    """Rows that can be compared: one suite, backbone, edition, scope, limit and data."""

    suite: str
    backbone: str
    edition: str
    scope: str
    limit: int | None
    apart: str
    """Which data or weights it stands on, where another board has the same place; else empty."""
    mains: Mapping[str, str]
    """The main metric of each task of the suite, in the suite's order, or of the one shown."""
    grounds: Mapping[str, Ground]
    families: Mapping[tuple[str, str], Family]
    majority: Mapping[str, float | None]
    """By main metric: what always giving the most frequent answer of a question's family scores."""
    rows: Sequence[Row]
    runs: Sequence[Run]
    """The runs that count in the rows."""
    notes: Sequence[str] = ()
    is_part: bool = False
    """Whether only one of the suite's tasks is shown: its value is no average of the suite."""
    marked: Sequence[Row] = ()
    """All rows where only some are shown; marks are among these."""
    order: str = ""
    """The column that the rows are ordered by, where it was asked for; else by their average."""


def split_overrides(settings: str) -> list[str]:
    """Return the overrides in a text; a comma within a value parts nothing."""
    return [part.strip() for part in re.split(r",(?=\s*[\w.]+=)", settings) if part.strip()]


def is_best(row: Row, metric: str, board: Board) -> bool:
    """Whether a row is the best or ties with it; nobody is the best of one, or near a baseline."""
    several = sum(metric in other.ties for other in board.marked or board.rows) > 1
    is_above = not row.is_floor and metric not in row.near_floor
    return several and is_above and row.ties.get(metric) == 1


def is_below_floor(row: Row) -> bool:
    """Whether the row's average, or without one any of its metrics, is at or below a baseline."""
    return AVERAGE in row.below_floor if row.average.n else bool(row.below_floor)


def read_runs(results: pd.DataFrame) -> list[Run]:
    """Make the runs of a table of results, with their rows on the test split."""
    test = results[results["split"] == "test"].sort_values("key", kind="stable")
    firsts = np.flatnonzero(~test["key"].duplicated().to_numpy())
    facts = {name: _cells(name, column) for name, column in test.iloc[firsts].items()}
    rows = {name: _cells(name, test[name]) for name in OF_ROWS}
    return [
        _run(
            {name: cells[index] for name, cells in facts.items()},
            [{name: cells[row] for name, cells in rows.items()} for row in range(start, end)],
        )
        for index, (start, end) in enumerate(pairwise([*firsts.tolist(), len(test)]))
    ]


def summarise(
    results: pd.DataFrame,
    suites: Mapping[str, Sequence[str]] | None = None,
    is_part: bool = False,
) -> list[Board]:
    """Make boards of the test rows, complete ones first.

    `suites` says which tasks each suite has; with `is_part` these are not all of its tasks.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in read_runs(results):
        place = tuple(run.facts[name] for name in (*PLACE, "backbone_hash"))
        groups.setdefault(place, []).append(run)
    boards = []
    for place in sorted(groups, key=lambda place: (place[3] != "complete", *map(str, place))):
        runs, suite = groups[place], place[0]
        tasks = list((suites or {}).get(suite, suite.split("+") if "+" in suite else ()))
        tasks += sorted({task for run in runs for task in run.mains} - set(tasks))
        grounds: dict[str, set[Ground]] = {}
        for task, ground in (item for run in runs for item in run.grounds.items()):
            grounds.setdefault(task, set()).add(ground)
        differing = sorted(task for task in grounds if len(grounds[task]) > 1)
        notes = [OTHER_DATA] if differing else []
        weights = []
        if sum(other[:-1] == place[:-1] for other in groups) > 1:
            notes.append(OTHER_WEIGHTS)
            weights = [f"weights {place[-1][:8]}"]
        for part in _same_data(runs):
            board = _board(place[:-1], part, tasks, notes, is_part)
            data = [
                f"{task} {known.data_fingerprint[:8]}, {known.n_examples:,} examples"
                for task in differing
                if (known := board.grounds.get(task))
            ]
            boards.append(replace(board, apart=", ".join([*weights, *data])))
    return boards


def _cells(name: object, column: pd.Series[Any]) -> list[Any]:
    """A column in Python's own types: None for an empty cell; equal texts are one object.

    Here text from outside comes in, so it is made printable: all that is shown is made of runs.
    """
    if column.dtype.kind == "f":
        plain = int if name in INTEGERS else float
        return [plain(value) if math.isfinite(value) else None for value in column.tolist()]
    codes, kinds = pd.factorize(column)
    values = [printable(kind) if isinstance(kind, str) else kind for kind in kinds.tolist()]
    values.append(None)  # an empty cell has the code -1
    return [values[code] for code in codes.tolist()]


def _run(facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Run:
    done = [row for row in rows if row["status"] == "done"]
    overall = [row for row in rows if row["main"] and row["family"] == ""]
    seconds = [row["evaluate_seconds"] for row in overall]
    return Run(
        key=str(facts["key"]),
        facts={**facts, "evaluate_seconds": None if None in seconds else math.fsum(seconds)},
        values={(row["metric"], row["family"]): row["value"] for row in done},
        mains={row["task"]: row["metric"] for row in overall},
        grounds={
            row["task"]: Ground(str(row["data_fingerprint"]), row["metric"], row["n_examples"] or 0)
            for row in overall
            if row["status"] == "done"
        },
        families={
            (row["metric"], row["family"]): Family(row["n_examples"] or 0, row["majority"])
            for row in done
            if row["main"]
        },
        card="+".join(sorted({str(row["card_hash"]) for row in rows})),
    )


def _same_data(runs: Sequence[Run]) -> list[list[Run]]:
    """Split runs by their data; a run that lacks a task joins those it agrees with."""
    parts: list[tuple[dict[str, Ground], list[Run]]] = []
    for run in sorted(runs, key=lambda run: (-len(run.grounds), sorted(run.grounds.items()))):
        for grounds, members in parts:
            if all(grounds.get(task, ground) == ground for task, ground in run.grounds.items()):
                grounds.update(run.grounds)
                members.append(run)
                break
        else:
            parts.append((dict(run.grounds), [run]))
    return [members for _, members in parts]


def _board(
    place: tuple[Any, ...],
    runs: Sequence[Run],
    tasks: Sequence[str],
    notes: Sequence[str],
    is_part: bool,
) -> Board:
    named = {task: metric for run in runs for task, metric in run.mains.items()}
    mains = {task: named.get(task, task) for task in tasks}
    families: dict[tuple[str, str], Family] = {}
    for name, family in (item for run in runs for item in run.families.items()):
        if name not in families or families[name].majority is None:
            families[name] = family
    majority = {metric: _majority(metric, families) for metric in mains.values()}
    groups: dict[tuple[tuple[str, str, str], str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.age):  # weights count, not their file's name
        facts = run.facts
        identity = facts["method"], facts["settings"], str(facts["init"]).partition(" ")[0]
        groups.setdefault((identity, run.card), []).append(run)
    versions = Counter(identity for identity, _ in groups)
    rows: list[Row] = []
    counted: list[Run] = []
    texts: list[str] = []
    for (identity, card), members in groups.items():
        newest, comments = _newest(members)
        rows.append(_row(newest, list(mains.values()), "" if versions[identity] == 1 else card[:8]))
        counted += newest
        texts += [f"{rows[-1].label}, {comment}" for comment in comments]
    suite, backbone, edition, scope, limit = place
    return Board(
        *(suite, backbone, edition, scope, limit, ""),
        mains=mains,
        grounds={task: ground for run in runs for task, ground in run.grounds.items()},
        families=families,
        majority=majority,
        rows=_ranked([_marked(row, rows, majority) for row in rows]),
        runs=counted,
        notes=[*notes, *texts],
        is_part=is_part,
    )


def _newest(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The newest run of each seed, of those that are done, and comments on the others."""
    chosen, comments = [], []
    for seed in sorted({run.facts["seed"] for run in runs}):
        same = [run for run in runs if run.facts["seed"] == seed]
        done = [run for run in same if run.is_done]
        if not done:
            comments.append(f"seed {seed}: no result ({same[-1].facts['status']}).")
        elif len(done) > 1:
            others = ", ".join(run.key[:8] for run in done[:-1])
            comments.append(
                f"seed {seed}: the newest run counts ({done[-1].key[:8]}, not {others})."
            )
        chosen.append((done or same)[-1])
    return chosen, comments


def _row(runs: Sequence[Run], mains: Sequence[str], card: str) -> Row:
    done = [run for run in runs if run.is_done]
    facts = max(done or runs, key=lambda run: run.age).facts
    return Row(
        *(facts["method"], facts["settings"], card, facts),
        init=facts["init"],
        seeds=tuple(sorted(run.facts["seed"] for run in done)),
        stats={
            name: Stat.of(run.values.get(name) for run in done)
            for name in sorted({name for run in done for name in run.values})
        },
        average=Stat.of(run.average(mains) for run in done),
        costs={name: Stat.of(run.facts[name] for run in done) for name in COSTS},
        runs={run.facts["seed"]: run.key for run in done},
    )


def _majority(metric: str, families: Mapping[tuple[str, str], Family]) -> float | None:
    """The families' majorities weighted by their examples; the overall one where there are none."""
    overall = families.get((metric, ""))
    if overall is None:
        return None
    parts = [part for (name, family), part in families.items() if name == metric and family]
    weighted = [part.majority * part.n_examples for part in parts if part.majority is not None]
    covers = sum(part.n_examples for part in parts) == overall.n_examples
    if parts and covers and len(weighted) == len(parts):
        return math.fsum(weighted) / overall.n_examples
    return overall.majority


def _marked(row: Row, rows: Sequence[Row], majority: Mapping[str, float | None]) -> Row:
    """The row, marked where it is at or below the majority answer or a baseline's row.

    Of each baseline those rows count that share most overrides with it, and have no other ones.
    """
    floors: list[Row] = []
    for method in FLOORS:
        fair = [r for r in rows if r.method == method and r.overrides <= row.overrides]
        most = max((len(floor.overrides) for floor in fair), default=0)
        floors += [r for r in fair if len(r.overrides) == most and r is not row]
    below, near = set(), set()
    for name, answer in [*majority.items(), (AVERAGE, None)]:
        stat = row.stat(name)
        scores = [s for s in (answer, *(f.stat(name).mean for f in floors)) if s is not None]
        if stat.mean is not None and scores:
            above = stat.mean - max(scores)
            below |= {name} if above <= 0 else set()
            near |= {name} if above <= (stat.std or 0.0) else set()
    return replace(row, below_floor=frozenset(below), near_floor=frozenset(near))


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """By average, best first; rows without one after them, baselines last."""

    def key(row: Row) -> tuple[bool, bool, float, str]:
        mean = row.average.mean
        return row.is_floor, mean is None, -(mean or 0.0), row.label

    return sorted(rows, key=key)
