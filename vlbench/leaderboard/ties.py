"""Which rows the test cannot tell from the best: groups, instead of ranks by the third decimal.

The best row of a column and all that Holm's correction leaves untold from it are group 1. Without
them the best of the rest begins group 2, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlbench.errors import DataError
from vlbench.leaderboard.examples import Examples, Scores
from vlbench.leaderboard.statistics import Matrix, compare_drawn, deviations, holm
from vlbench.leaderboard.summary import Board

LEVEL = 0.05
AVERAGE = "average"


class Tested(NamedTuple):
    """A row's scores on some tasks, with draws of their means."""

    matrices: Sequence[Matrix]
    """Per task (seeds, examples)."""
    drawn: npt.NDArray[np.float32]
    """(draws, seeds): deviations of each seed's mean over the tasks."""
    seeds: Sequence[int]

    @property
    def mean(self) -> float:
        """Over tasks, seeds and examples."""
        return float(np.mean([matrix.mean() for matrix in self.matrices]))


def with_ties(board: Board, examples: Examples) -> Board:
    """The board with the tie groups of its rows and a note on the test."""
    if sum(bool(row.runs) for row in board.rows) < 2:
        return board
    faults: dict[str, str] = {}
    scores = _read(board, examples, faults)
    drawn = {task: _draw(of_rows) for task, of_rows in scores.items()}
    columns = {metric: [task] for task, metric in board.mains.items()}
    if len(board.mains) > 1:
        columns[AVERAGE] = list(board.mains)
    ties: dict[str, dict[str, int]] = {row.label: {} for row in board.rows}
    for column, tasks in columns.items():
        for label, group in _groups(_tested(tasks, scores, drawn)).items():
            ties[label][column] = group
    rows = [replace(row, ties=ties[row.label]) for row in board.rows]
    return replace(board, rows=rows, notes=[*board.notes, *_notes(board, faults)])


Read = dict[str, dict[int, Scores]]
"""By row and seed."""


def _read(board: Board, examples: Examples, faults: dict[str, str]) -> dict[str, Read]:
    """Per task the scores of the rows that were tested on the same examples."""
    found: dict[str, Read] = {}
    for task, metric in board.mains.items():
        found[task] = {}
        first: Scores | None = None
        for row in board.rows:
            if not row.stat(metric).n:
                continue
            try:
                scores = {seed: examples.scores(key, task) for seed, key in row.runs.items()}
            except DataError:
                faults[row.label] = f"no readable predictions of {task}"
                continue
            first = first or next(iter(scores.values()))
            if all(_same(each, first) for each in scores.values()):
                found[task][row.label] = scores
            else:
                faults[row.label] = f"other {task} examples than the first row"
    return found


def _same(a: Scores, b: Scores) -> bool:
    return a.ids is b.ids or np.array_equal(a.ids, b.ids)


def _draw(rows: Read) -> dict[str, npt.NDArray[np.float32]]:
    """Draws of each row's means, (draws, seeds), all from the same examples."""
    if not rows:
        return {}
    columns = [scores.values for of_seeds in rows.values() for scores in of_seeds.values()]
    drawn = deviations(np.stack(columns, axis=1))
    ends = np.cumsum([len(of_seeds) for of_seeds in rows.values()])
    return dict(zip(rows, np.split(drawn, ends[:-1], axis=1), strict=True))


def _tested(
    tasks: Sequence[str], scores: Mapping[str, Read], drawn: Mapping[str, Mapping[str, Any]]
) -> dict[str, Tested]:
    """The rows that have all of these tasks."""
    labels = [label for label in scores[tasks[0]] if all(label in scores[task] for task in tasks)]
    found = {}
    for label in labels:
        seeds = sorted(scores[tasks[0]][label])
        matrices = [
            np.stack([scores[task][label][seed].values for seed in seeds]) for task in tasks
        ]
        order = [list(scores[tasks[0]][label]).index(seed) for seed in seeds]
        draws = sum(drawn[task][label][:, order] for task in tasks) / len(tasks)
        found[label] = Tested(matrices, draws, seeds)
    return found


def _groups(rows: dict[str, Tested]) -> dict[str, int]:
    """The group of each row, from 1; rows without a seed of the best in hand start their own."""
    left = dict(sorted(rows.items(), key=lambda item: -item[1].mean))
    groups: dict[str, int] = {}
    number = 0
    while left:
        number += 1
        best, *others = left
        p_values = [_p(left[best], left[other]) for other in others]
        tied = {best} | {
            other for other, p in zip(others, holm(p_values), strict=True) if p >= LEVEL
        }
        groups |= dict.fromkeys(tied, number)
        left = {label: row for label, row in left.items() if label not in tied}
    return groups


def _p(a: Tested, b: Tested) -> float:
    """The p of the difference on the seeds that both have; 0 where they have none."""
    seeds = sorted(set(a.seeds) & set(b.seeds))
    if not seeds:
        return 0.0
    ours, theirs = ([list(row.seeds).index(seed) for seed in seeds] for row in (a, b))
    differences = [x[ours] - y[theirs] for x, y in zip(a.matrices, b.matrices, strict=True)]
    drawn = a.drawn[:, ours].mean(axis=1) - b.drawn[:, theirs].mean(axis=1)
    return compare_drawn(differences, drawn).p


def _notes(board: Board, faults: Mapping[str, str]) -> list[str]:
    """What was tested, with how many seeds, and what was not."""
    notes = [
        "Test: paired bootstrap over examples, seeds as a second level, against the highest mean; "
        "5 % with Holm's correction (docs/statistics.md)."
    ]
    if 1 in {len(row.runs) for row in board.rows}:
        notes.append("A row of one seed is compared on that seed alone: these weights, not seeds.")
    for fault in sorted(set(faults.values())):
        labels = [label for label, said in faults.items() if said == fault]
        notes.append(f"Not tested, {fault}: {', '.join(labels)}.")
    return notes
