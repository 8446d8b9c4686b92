"""Two rows' scores side by side: the same seeds, the same examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlbench.errors import DataError
from vlbench.leaderboard.examples import Examples, Scores
from vlbench.leaderboard.statistics import Matrix
from vlbench.leaderboard.summary import Row


def paired(
    a: Row,
    b: Row,
    tasks: Sequence[str],
    examples: Examples,
    examples_of_b: Examples | None = None,
) -> tuple[list[Matrix], list[Matrix]]:
    """Per task the scores of A and of B, each (seeds, examples), for the seeds that both have.

    B's predictions may lie in another folder. DataError where no seed is common, a file of
    predictions is missing, or the two were tested on other examples.
    """
    seeds = sorted(set(a.runs) & set(b.runs))
    if not seeds:
        raise DataError(f"{a.label} and {b.label} have no seed in common.")
    sides: tuple[list[Matrix], list[Matrix]] = ([], [])
    for task in tasks:
        ours = [examples.scores(a.runs[seed], task) for seed in seeds]
        theirs = [(examples_of_b or examples).scores(b.runs[seed], task) for seed in seeds]
        for row, each in ((a, ours), (b, theirs)):
            for seed, scores in zip(seeds, each, strict=True):
                first = f"{a.label} seed {seeds[0]}"
                _refuse_others(f"{row.label} seed {seed}", scores, ours[0], task, first)
        sides[0].append(np.stack([each.values for each in ours]))
        sides[1].append(np.stack([each.values for each in theirs]))
    return sides


def _refuse_others(name: str, scores: Scores, first: Scores, task: str, other: str) -> None:
    if scores.ids is first.ids or np.array_equal(scores.ids, first.ids):
        return
    count = len(np.setxor1d(scores.ids, first.ids))
    differ = f"{count} id{'s differ' if count != 1 else ' differs'}"
    raise DataError(f"{name} was tested on other {task} examples than {other}: {differ}.")
