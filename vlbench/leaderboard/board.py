"""Boards: rows of methods over seeds, with what marks them; `summarise.py` makes them.

A row is one method with its settings and starting weights, as one version of its cards. The average
of a suite is the plain mean of its tasks' main metrics per seed, where all of its tasks are there.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from vlbench.leaderboard.normalised import NORMALISED, Ruler

AVERAGE = "average"  # name of the average among the metrics of a row
FLOORS = ("zero-shot", "frozen", "blind")
"""Baselines to be beaten: nothing or only the projector trains, or no picture is seen."""
BEST, BELOW, FEWER = "*", "↓", "°"
SETUP = ("suite", "backbone", "edition", "scope", "limit")
"""Columns that all runs of a board have in common."""
Name = tuple[str, str]  # a metric and a question family; family "" is all examples


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
        mean, n = math.fsum(known) / len(known), len(known)
        squares = math.fsum([(value - mean) ** 2 for value in known])  # stdev's fractions are slow
        return cls(mean, math.sqrt(squares / (n - 1)) if n > 1 else None, n)


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
    """One run: the columns that all of its rows share, and its values on the test split."""

    key: str
    facts: Mapping[str, Any]
    values: Mapping[Name, float | None]
    grounds: Mapping[str, Ground]  # by task
    families: Mapping[Name, Family]  # of main metrics

    @property
    def is_done(self) -> bool:
        """Whether the run has values at all."""
        return bool(self.facts["status"] == "done")

    @property
    def age(self) -> tuple[str, int]:
        """Sort key of runs from old to new."""
        return str(self.facts["created_at"]), self.facts["attempt"] or 0

    @cached_property
    def data(self) -> dict[str, tuple[Any, ...]]:
        """What boards never mix: the backbone's weights and the data of each task with a value."""
        return {"weights": (self.facts["backbone_hash"],), **(self.grounds if self.is_done else {})}

    def average(self, metrics: Iterable[str]) -> float | None:
        """Plain mean of these metrics, None unless all of them have a value."""
        values = [self.values.get((metric, "")) for metric in metrics]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known and len(known) == len(values) else None


@dataclass(frozen=True)
class Row:
    """One method of a board, over its seeds. Marks are by main metric and `average`."""

    method: str
    settings: str
    init: str  # weights its runs started from, as the column `init` has them
    card: str  # short hash of the cards where a board has several versions of this method
    facts: Mapping[str, Any]  # columns that all seeds share, of the newest run
    runs: Mapping[int, str]  # seed -> key of the run that counts
    stats: Mapping[Name, Stat]
    average: Stat
    costs: Mapping[str, Stat]
    normalised: Stat = NOTHING
    win_rate: float | None = None  # percent of the board's other rows with all tasks, task by task
    mean_rank: float | None = None  # over tasks, among the same rows
    n_trials: int | None = None  # of its search; None: nothing to search, or no search here
    has_fewer_trials: bool = False  # than others of the board
    below_floor: frozenset[str] = frozenset()  # at or below a baseline
    near_floor: frozenset[str] = frozenset()  # or no more than the deviation above one: never best
    ties: Mapping[str, int] = field(default_factory=dict)
    """Column -> tie group; 1: the best and what ties with it."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that have a result."""
        return tuple(self.runs)

    @property
    def is_floor(self) -> bool:
        """Whether the row is a baseline to be beaten."""
        return self.method in FLOORS

    @cached_property
    def overrides(self) -> frozenset[str]:
        """Each `--set` of its runs, and the weights they started from."""
        weights = [f"from={self.init[:8]}"] if self.init else []
        return frozenset([*split_overrides(self.settings), *weights])

    @cached_property
    def details(self) -> str:
        """What tells the row from others of its method: ` (params.reduction=4)`, or nothing."""
        digits, _, file = self.init.partition(" ")
        weights = f"from {file} {digits[:8]}" if self.init else ""
        parts = [self.settings, weights, f"card {self.card}" if self.card else ""]
        return f" ({', '.join(filter(None, parts))})" if any(parts) else ""

    @cached_property
    def label(self) -> str:
        """What a table calls the row."""
        return self.method + self.details

    def stat(self, metric: str, family: str = "") -> Stat:
        """Statistics of a metric or of a mean over tasks, empty where it was not measured."""
        means = {AVERAGE: self.average, NORMALISED: self.normalised}
        return means.get(metric) or self.stats.get((metric, family), NOTHING)


@dataclass(frozen=True)
class Board:
    """Rows that can be compared: one suite, backbone, edition, scope, limit and data."""

    suite: str
    backbone: str
    edition: str
    scope: str
    limit: int | None
    apart: str  # the data or weights that tell it from a board of the same setup
    mains: Mapping[str, str]  # task -> main metric, in the suite's order, or of the task shown
    grounds: Mapping[str, Ground]
    families: Mapping[Name, Family]
    majority: Mapping[str, float | None]  # main metric -> score of the families' majority answers
    rows: Sequence[Row]
    runs: Sequence[Run]  # those that count in the rows, or that failed
    notes: Sequence[str] = ()
    ruler: Ruler | None = None
    is_part: bool = False  # only one of the suite's tasks is shown
    marked: Sequence[Row] = ()  # all rows, which marks are among, where only some are shown
    order: str = ""  # the column of --sort

    @property
    def columns(self) -> list[str]:
        """The main metrics, then the means of several."""
        means = [AVERAGE, *([NORMALISED] if self.ruler and self.ruler.floors else [])]
        return [*self.mains.values(), *(means if len(self.mains) > 1 else [])]

    @property
    def counted(self) -> list[str]:
        """The tasks of the normalised score."""
        floors = self.ruler.floors if self.ruler else {}
        return [task for task, metric in self.mains.items() if metric in floors]

    @property
    def has_trials(self) -> bool:
        """Whether the numbers of trials are known."""
        return any(row.n_trials is not None for row in self.rows)

    def tasks_of(self, column: str) -> list[str]:
        """The tasks that one of the columns is of."""
        if column == NORMALISED:
            return self.counted
        return [task for task, metric in self.mains.items() if column in (metric, AVERAGE)]

    @property
    def ranking(self) -> str:
        """The column that rows are sorted by."""
        return self.columns[-1]


def split_overrides(settings: str) -> list[str]:
    """Return the overrides in a text; a comma within a value parts nothing."""
    return [part.strip() for part in re.split(r",(?=\s*[\w.]+=)", settings) if part.strip()]


def is_best(row: Row, metric: str) -> bool:
    """Whether a row is the best or ties with it, and is not near a baseline."""
    is_above = not row.is_floor and metric not in row.near_floor
    return is_above and row.ties.get(metric) == 1


def is_below_floor(row: Row) -> bool:
    """Whether the row's average, or without one any of its metrics, is at or below a baseline."""
    return AVERAGE in row.below_floor if row.average.n else bool(row.below_floor)
