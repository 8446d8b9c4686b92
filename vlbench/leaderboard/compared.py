"""A comparison of two rows as it is shown: sides, items and their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.statistics import LEVEL, Test
from vlbench.leaderboard.summary import Board, Row
from vlbench.text import printable


class Side(NamedTuple):
    """One of the two: a row, the board it stands in, and where its predictions lie."""

    board: Board
    row: Row
    examples: Examples

    @property
    def folder(self) -> str:
        """Where its results lie, as it is shown."""
        return printable(str(self.examples.folder))

    def value(self, metric: str, seed: int) -> float | None:
        """The recorded value of one seed, None where there is none."""
        key = self.row.runs.get(seed)
        run = next((run for run in self.board.runs if run.key == key), None)
        return None if run is None else run.values.get((metric, ""))

    def seeds(self, metric: str) -> set[int]:
        """The seeds with a value."""
        return {seed for seed in self.row.runs if self.value(metric, seed) is not None}

    def has(self, metric: str) -> bool:
        """Whether the row has a value at all."""
        stat = self.row.average if metric == AVERAGE else self.row.stat(metric)
        return stat.n > 0


@dataclass(frozen=True)
class Item:
    """A task's main metric, or the average: both values and the test, or why there is none."""

    task: str
    metric: str
    a: float | None = None
    """Mean over its seeds."""
    b: float | None = None
    seeds_a: tuple[int, ...] = ()
    seeds_b: tuple[int, ...] = ()
    tested: Test | None = None
    p_holm: float | None = None
    level: float = LEVEL
    """At which Holm's procedure tests it."""
    reason: str = ""
    """Why it cannot be compared; empty where it was."""

    @property
    def is_shown(self) -> bool:
        """Whether the test tells the two apart."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval at Holm's level, which leaves out 0 exactly where a difference is shown."""
        return None if self.tested is None else self.tested.interval(self.level)

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if self.tested is None:
            return "not comparable"
        if not self.is_shown:
            return "no difference shown"
        return "A better" if self.tested.difference > 0 else "B better"


@dataclass(frozen=True)
class Pair:
    """A and B in one place; a side that has no row anywhere near is None."""

    a: Side | None
    b: Side | None
    items: Sequence[Item]
    missing: str = ""
    """Which side has no runs here, in words; empty where both have some."""

    @property
    def board(self) -> Board:
        """The board of the side that is there: A's where both are."""
        side = self.a or self.b
        assert side is not None
        return side.board
