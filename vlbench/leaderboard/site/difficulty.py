"""How hard each test example is: its mean score over the methods of a board."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlbench.errors import DataError
from vlbench.leaderboard.examples import Examples, Scores
from vlbench.leaderboard.site.layout import Entry, Place

MOST_ROWS = 60
"""Rows of a board that are read for it, best first, a run each."""


class Difficulty(NamedTuple):
    """The examples of a task with their mean score over runs, one run a method."""

    ids: npt.NDArray[np.str_]
    """(n,), sorted."""
    means: npt.NDArray[np.float64]
    """(n,), as stored in `score`."""
    entries: list[Entry]
    """Whose runs were read."""

    def hardest(self, count: int) -> list[str]:
        """The ids with the lowest means, lowest first."""
        return [str(self.ids[at]) for at in np.argsort(self.means, kind="stable")[:count]]

    def mean(self, identifier: str) -> float:
        """The mean of an example in percent."""
        return 100 * float(self.means[np.searchsorted(self.ids, identifier)])


def difficulty(place: Place, task: str, examples: Examples) -> Difficulty | None:
    """Of a board's task; None where no run's predictions are at hand.

    Floors do not count. A run on other examples than the first one's, which a board never mixes,
    is left out, and so is one whose predictions cannot be read.
    """
    read: list[Scores] = []
    entries: list[Entry] = []
    for entry in place.methods[:MOST_ROWS]:
        if not entry.key or not examples.file(entry.key, task).is_file():
            continue
        try:
            scores = examples.scores(entry.key, task)
        except DataError:
            continue  # the report tells of it
        if not read or np.array_equal(read[0].ids, scores.ids):
            read.append(scores)
            entries.append(entry)
    if not read or not len(read[0].ids):
        return None
    return Difficulty(read[0].ids, np.mean([each.values for each in read], axis=0), entries)
