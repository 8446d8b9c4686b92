"""A row held against many at once, with draws only where they can decide.

The decisions are those of `compare_scores` and Holm's correction over all of them. Draws cost a
thousand times what Student's p does, and rarely change what it says: none are made where it leaves
no doubt, nor where the correction would not let even the smallest p pass that they can give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vlbench.leaderboard.draws import student
from vlbench.leaderboard.pairwise import Numbers, Pairwise, scatter
from vlbench.leaderboard.statistics import LEVEL, RARE, holm, judge, least_variance, steps

OPEN = (1e-4, 0.2)
"""Student's p in between: what the draws say may decide."""


class Contest:
    """One row held against each of several others that have its examples and seeds."""

    def __init__(self, rows: Pairwise, one: int, others: Sequence[int]) -> None:
        self.rows, self.one, self.others = rows, one, others
        self.found = scatter(rows, one, others)
        difference, variance, freedom = self.found
        self.p: Numbers = student(steps(difference, variance), freedom).astype(np.float64)
        self.is_open = (self.p > OPEN[0]) & (self.p < OPEN[1])
        self._judge(np.flatnonzero(variance <= least_variance(difference)), is_drawn=False)

    @property
    def least(self) -> Numbers:
        """The smallest p that each may have."""
        return np.where(self.is_open, np.minimum(self.p, RARE), self.p)

    def decide(self, can_pass: npt.NDArray[np.bool_]) -> None:
        """Draw for what is open and can pass; what cannot has a p of 1 from now on."""
        self.p[self.is_open & ~can_pass] = 1.0
        self._judge(np.flatnonzero(self.is_open & can_pass), is_drawn=True)

    def _judge(self, places: npt.NDArray[np.intp], is_drawn: bool) -> None:
        """The p of these as `compare_scores` has it."""
        if not len(places):
            return
        drawn = np.zeros((1, len(places) + 1), np.float32)
        if is_drawn:
            drawn = self.rows.drawn([self.one, *(self.others[place] for place in places)])
        for column, place in enumerate(places, 1):
            difference, variance, freedom = (float(each[place]) for each in self.found)
            apart = drawn[:, 0] - drawn[:, column]
            self.p[place] = judge(difference, variance, freedom, apart, self.rows.n_examples)[2]
        self.is_open[places] = False


def told_apart(contests: Sequence[Contest]) -> list[npt.NDArray[np.bool_]]:
    """For each contest which of the others differ, corrected over all of them together."""
    for contest, can_pass in zip(
        contests, _rejected([each.least for each in contests]), strict=True
    ):
        contest.decide(can_pass)
    return _rejected([contest.p for contest in contests])


def _rejected(p: Sequence[Numbers]) -> list[npt.NDArray[np.bool_]]:
    """Holm's decisions, in the same parts."""
    if not p:
        return []
    told = np.array(holm(np.concatenate(p).tolist())) < LEVEL
    return np.split(told, np.cumsum([len(each) for each in p])[:-1])
