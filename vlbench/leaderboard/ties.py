"""Which rows are not significantly different from the best: groups, instead of ranks.

Down a column by its means, the best row and those behind it form group 1, up to the first that is
significantly different from it, after Holm's correction over the rows it is tested against. That
one begins group 2, and so on: a row that scatters much ties with nothing that stands above a row
which is known to be worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vlbench.errors import DataError
from vlbench.leaderboard.examples import Examples, same_ids
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.statistics import LEVEL, RowScores, holm, p_values
from vlbench.leaderboard.summary import Board, Row


def with_ties(board: Board, examples: Examples) -> Board:
    """Return the board with the tie groups of its rows and a note on the test."""
    if sum(bool(row.runs) for row in board.rows) < 2:
        return board
    faults: dict[str, str] = {}
    columns = {metric: [task] for task, metric in board.mains.items()}
    if len(board.mains) > 1:
        columns[AVERAGE] = list(board.mains)
    testable = {task: _testable(board, task, examples, faults) for task in board.mains}
    ties: dict[str, dict[str, int]] = {row.label: {} for row in board.rows}
    for column, tasks in columns.items():
        rows = [row for row in board.rows if all(row.label in testable[task] for task in tasks)]
        means = {row.label: mean for row in rows if (mean := _mean(row, column)) is not None}
        rows = sorted(
            (r for r in rows if r.label in means), key=lambda r: (-means[r.label], r.label)
        )
        scores = {row.label: examples.row_scores(row, tasks) for row in rows}
        for label, group in tie_groups(scores).items():
            ties[label][column] = group
    rows = [replace(row, ties=ties[row.label]) for row in board.rows]
    tested = [row for row in rows if row.ties]
    return replace(board, rows=rows, notes=[*board.notes, *_notes(tested, faults)])


def tie_groups(rows: Mapping[str, RowScores]) -> dict[str, int]:
    """Return the group of each row, from 1; rows come best first."""
    groups: dict[str, int] = {}
    left = list(rows)
    number = 0
    while left:
        number += 1
        best, *others = left
        p = holm(p_values(rows[best], [rows[label] for label in others]).tolist()) if others else []
        first = next((n for n, value in enumerate(p) if value < LEVEL), len(others))
        groups |= dict.fromkeys([best, *others[:first]], number)
        left = others[first:]
    return groups


def _mean(row: Row, column: str) -> float | None:
    return (row.average if column == AVERAGE else row.stat(column)).mean


def _testable(board: Board, task: str, examples: Examples, faults: dict[str, str]) -> set[str]:
    """The labels of the rows whose runs were all tested on the first row's examples of a task."""
    labels: set[str] = set()
    first = None
    for row in board.rows:
        if not row.stat(board.mains[task]).n:
            continue
        try:
            ids = [examples.scores(key, task).ids for key in row.runs.values()]
            examples.clusters(next(iter(row.runs.values())), task)
        except DataError:
            faults.setdefault(row.label, f"no readable predictions of {task}")
            continue
        first = ids[0] if first is None else first
        if all(same_ids(seed_ids, first) for seed_ids in ids):
            labels.add(row.label)
        else:
            faults.setdefault(row.label, f"other {task} examples than the first row")
    return labels


def _notes(tested: Sequence[Row], faults: Mapping[str, str]) -> list[str]:
    """What was tested, with how many seeds, and what was not."""
    notes = []
    if tested:
        seeds = ", seeds unpaired (Welch)" if any(len(row.runs) > 1 for row in tested) else ""
        notes.append(
            f"Test: Student's t against the highest mean, examples paired{seeds}; 5 % after Holm's "
            "correction (docs/statistics.md)."
        )
    single = [row.label for row in tested if len(row.runs) == 1]
    if single:
        who = "All rows" if len(single) == len(tested) else ", ".join(single)
        notes.append(f"{who}: one seed, so compared as these trained weights, not as other seeds.")
    for fault in sorted(set(faults.values())):
        labels = [label for label, reason in faults.items() if reason == fault]
        notes.append(f"Not tested, {fault}: {', '.join(labels)}.")
    return notes
