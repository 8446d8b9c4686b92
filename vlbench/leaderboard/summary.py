"""Results summed up over seeds: what a table may say, and what it must not mix.

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
from typing import Any

import pandas as pd

from vlbench.leaderboard.runs import Family, Ground, Run, read_runs, same_data

FLOORS = ("frozen", "blind")
"""Methods that are there to be beaten: only the visual embedding trains, or no picture is seen."""

COSTS = (
    "adapter_bytes",
    "peak_memory_bytes",
    "train_seconds",
    "examples_per_second",
    "evaluate_seconds",
)


OTHER_WEIGHTS = "Runs on other weights of this backbone stand in another table."
OTHER_DATA = "Runs of this suite on other data stand in another table: do not compare the two."


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation over `n` seeds; a single one has no deviation."""

    mean: float | None
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Stat:
        """The statistics of the values that are there."""
        there = [value for value in values if value is not None]
        if not there:
            return NOTHING
        mean = statistics.fmean(there)
        squares = math.fsum((value - mean) ** 2 for value in there)
        std = math.sqrt(squares / (len(there) - 1)) if len(there) > 1 else None
        return cls(mean, std, len(there))


Identity = tuple[str, str, str]
"""What a row is of, whatever the version of its cards."""
NOTHING = Stat(mean=None, std=None, n=0)


def split_overrides(settings: str) -> list[str]:
    """Return the overrides in a text; a comma within a value parts nothing."""
    return [part.strip() for part in re.split(r",(?=\s*[\w.]+=)", settings) if part.strip()]


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
    """Main metrics (and "average") that are at or below a floor."""
    near_floor: frozenset[str] = frozenset()
    """Those, and what is no more than its deviation over seeds above one: never the best."""
    runs: Mapping[int, str] = field(default_factory=dict)
    """The keys of the runs that count, by seed."""
    ties: Mapping[str, int] = field(default_factory=dict)
    """By main metric (and "average"): 1 for the best and what the test cannot tell from it, 2 for
    the best of the rest and so on; nothing where it was not tested."""

    @property
    def is_floor(self) -> bool:
        """Whether the row is there to be beaten."""
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
        """The statistics of a metric, empty where it was not measured."""
        return self.stats.get((metric, family), NOTHING)


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
    notes: Sequence[str] = field(default_factory=tuple)
    is_part: bool = False
    """Whether only one of the suite's tasks is shown: its value is no average of the suite."""
    marked: Sequence[Row] = ()
    """All rows where only some are shown; marks are among these."""
    order: str = ""
    """The column that the rows are ordered by, where it was asked for; else by their average."""


def summarise(
    results: pd.DataFrame,
    suites: Mapping[str, Sequence[str]] | None = None,
    is_part: bool = False,
) -> list[Board]:
    """Boards of the test rows, complete ones first; `suites` says which tasks each suite has.

    With `is_part` these are not all of its tasks.
    """
    places: dict[tuple[Any, ...], list[Run]] = {}
    for run in read_runs(results):
        names = ("suite", "backbone", "edition", "scope", "limit", "backbone_hash")
        places.setdefault(tuple(run.facts[name] for name in names), []).append(run)
    boards = []
    for place in sorted(places, key=lambda place: (place[3] != "complete", *map(str, place))):
        tasks = _tasks(place[0], places[place], suites or {})
        parts = same_data(places[place])
        differing = _differing(parts)
        notes = [OTHER_DATA] if differing else []
        weights = []
        if sum(other[:-1] == place[:-1] for other in places) > 1:
            notes.append(OTHER_WEIGHTS)
            weights = [f"weights {place[-1][:8]}"]
        for part in parts:
            apart = ", ".join([*weights, *_data(part, differing)])
            boards.append(replace(_board(place, part, tasks, apart, notes), is_part=is_part))
    return boards


def _differing(parts: Sequence[Sequence[Run]]) -> list[str]:
    """The tasks on which runs of one place stand on different data."""
    seen: dict[str, set[Ground]] = {}
    for run in (run for part in parts for run in part):
        for task, ground in run.grounds.items():
            seen.setdefault(task, set()).add(ground)
    return sorted(task for task, grounds in seen.items() if len(grounds) > 1)


def _data(runs: Sequence[Run], tasks: Sequence[str]) -> list[str]:
    """What data the runs have of these tasks, in a few words."""
    grounds = {task: ground for run in runs for task, ground in run.grounds.items()}
    return [
        f"{task} {grounds[task].data_fingerprint[:8]}, {grounds[task].n_examples:,} examples"
        for task in tasks
        if task in grounds
    ]


def _tasks(suite: str, runs: Sequence[Run], suites: Mapping[str, Sequence[str]]) -> list[str]:
    """The tasks that a suite has, by its card, its name or else the results."""
    known = list(suites.get(suite, suite.split("+") if "+" in suite else ()))
    return known + sorted({task for run in runs for task in run.mains} - set(known))


def _board(
    place: tuple[Any, ...],
    runs: Sequence[Run],
    tasks: Sequence[str],
    apart: str,
    notes: list[str],
) -> Board:
    suite, backbone, edition, scope, limit, _ = place
    named = {task: metric for run in runs for task, metric in run.mains.items()}
    mains = {task: named.get(task, task) for task in tasks}
    families: dict[tuple[str, str], Family] = {}
    for run in runs:
        for name, family in run.families.items():
            if name not in families or families[name].majority is None:
                families[name] = family
    majority = {metric: _majority(metric, families) for metric in mains.values()}
    groups: dict[tuple[Identity, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.age):
        groups.setdefault((_identity(run), run.card), []).append(run)
    versions = Counter(identity for identity, _ in groups)
    rows: list[Row] = []
    counted: list[Run] = []
    for (identity, card), members in groups.items():
        newest, said = _newest(members)
        is_one = versions[identity] == 1
        rows.append(_row(newest, mains, "" if is_one else card[:8]))
        counted += newest
        notes = notes + [f"{rows[-1].label}, {text}" for text in said]
    return Board(
        *(suite, backbone, edition, scope, limit, apart),
        mains=mains,
        grounds={task: ground for run in runs for task, ground in run.grounds.items()},
        families=families,
        majority=majority,
        rows=_ranked(_marked(rows, majority)),
        runs=counted,
        notes=notes,
    )


def _identity(run: Run) -> Identity:
    """Method, settings and the weights it started from, whatever their file was called."""
    facts = run.facts
    return facts["method"], facts["settings"], str(facts["init"]).partition(" ")[0]


def _newest(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """One run a seed, the newest that is done, and what to say of the others."""
    chosen, notes = [], []
    for seed in sorted({run.facts["seed"] for run in runs}):
        same = [run for run in runs if run.facts["seed"] == seed]
        done = [run for run in same if run.is_done]
        if not done:
            notes.append(f"seed {seed}: no result ({same[-1].facts['status']}).")
        elif len(done) > 1:
            others = ", ".join(run.key[:8] for run in done[:-1])
            notes.append(f"seed {seed}: the newest run counts ({done[-1].key[:8]}, not {others}).")
        chosen.append((done or same)[-1])
    return chosen, notes


def _row(runs: Sequence[Run], mains: Mapping[str, str], card: str) -> Row:
    done = [run for run in runs if run.is_done]
    facts = max(done or runs, key=lambda run: run.age).facts
    names = sorted({name for run in done for name in run.values})
    return Row(
        method=facts["method"],
        settings=facts["settings"],
        card=card,
        init=facts["init"],
        facts=facts,
        seeds=tuple(sorted(run.facts["seed"] for run in done)),
        stats={name: Stat.of(run.values.get(name) for run in done) for name in names},
        average=Stat.of(run.average(list(mains.values())) for run in done),
        costs={name: Stat.of(run.facts[name] for run in done) for name in COSTS},
        runs={run.facts["seed"]: run.key for run in done},
    )


def _majority(metric: str, families: Mapping[tuple[str, str], Family]) -> float | None:
    """The families' majorities weighted by their examples; the overall one where there are none."""
    overall = families.get((metric, ""))
    if overall is None:
        return None
    parts = [each for (name, family), each in families.items() if name == metric and family]
    weighted = [each.majority * each.n_examples for each in parts if each.majority is not None]
    covers = sum(each.n_examples for each in parts) == overall.n_examples
    if parts and covers and len(weighted) == len(parts):
        return math.fsum(weighted) / overall.n_examples
    return overall.majority


def _marked(rows: Sequence[Row], majority: Mapping[str, float | None]) -> list[Row]:
    """The rows, each knowing where it is at or below the majority answer or a floor's row."""
    baselines = [row for row in rows if row.is_floor]

    def marked(row: Row) -> Row:
        below, near = set(), set()
        floors = _floors(row, baselines)
        for name, answer in [*majority.items(), ("average", None)]:
            stat = _column(row, name)
            means = [_column(floor, name).mean for floor in floors if floor is not row]
            there = [mean for mean in (answer, *means) if mean is not None]
            if stat.mean is None or not there:
                continue
            above = stat.mean - max(there)
            below |= {name} if above <= 0 else set()
            near |= {name} if above <= (stat.std or 0.0) else set()
        return replace(row, below_floor=frozenset(below), near_floor=frozenset(near))

    return [marked(row) for row in rows]


def _floors(row: Row, baselines: Sequence[Row]) -> list[Row]:
    """The baselines that a row is held against: of each method those that share most overrides.

    A baseline with an override that the row lacks, or from other weights, is none of them.
    """
    floors: list[Row] = []
    for method in FLOORS:
        fair = [floor for floor in baselines if floor.method == method]
        fair = [floor for floor in fair if floor.overrides <= row.overrides]
        most = max((len(floor.overrides) for floor in fair), default=0)
        floors += [floor for floor in fair if len(floor.overrides) == most]
    return floors


def _column(row: Row, name: str) -> Stat:
    """The statistics of a main metric, or of the average."""
    return row.average if name == "average" else row.stat(name)


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """By average, best first; rows without one after them, floors last."""

    def place(row: Row) -> tuple[bool, bool, float, str]:
        mean = row.average.mean
        return row.is_floor, mean is None, -(mean or 0.0), row.label

    return sorted(rows, key=place)
