"""Which predictions a method's page shows: the same examples for all, and its worst errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlbench.leaderboard.examples import Scores
from vlbench.leaderboard.site.difficulty import Difficulty
from vlbench.leaderboard.site.predictions import Prediction, Predictions

SAMPLES = 3
WORST = 3
"""Of each task, from one run of a row."""


class Chosen(NamedTuple):
    """Predictions of a run for one task."""

    samples: Sequence[Prediction]
    worst: Sequence[Prediction]


def choose(file: Path, known: Difficulty | None) -> Chosen | None:
    """Samples and worst errors from a file of predictions; None where it is not at hand."""
    if not file.is_file():
        return None
    predictions = Predictions(file)
    scores = predictions.scores
    samples = spread(scores, SAMPLES)
    errors = worst_errors(scores, known, WORST + SAMPLES)
    worst = [each for each in errors if each not in samples][:WORST]
    found = predictions.of([*samples, *worst])
    return Chosen([found[each] for each in samples], [found[each] for each in worst])


def spread(scores: Scores, count: int) -> list[str]:
    """Ids evenly spread over all: the same for every run on the same data."""
    n = len(scores.ids)
    places = sorted({int((2 * step + 1) * n / (2 * count)) for step in range(count)}) if n else []
    return [str(scores.ids[place]) for place in places]


def worst_errors(scores: Scores, known: Difficulty | None, count: int) -> list[str]:
    """The lowest scores; among equals, what other methods find easiest. Full marks are no error."""
    easy = np.zeros(len(scores.ids))
    if known is not None and np.array_equal(known.ids, scores.ids):
        easy = known.means
    order = np.lexsort((-easy, scores.values))
    return [str(scores.ids[at]) for at in order[:count] if scores.values[at] < max(1.0, easy[at])]
