"""Which rows the test cannot tell from the best: groups, instead of ranks by the third decimal.

Down a column by its means, the best row and those behind it form group 1, up to the first that
Holm's correction leaves told from it. That one begins group 2, and so on: a row that scatters much
ties with nothing that stands above a row which is known to be worse. Rows are compared on the seeds
that both have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vlbench.errors import DataError
from vlbench.leaderboard.contests import Contest, told_apart
from vlbench.leaderboard.examples import Examples, Scores
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.pairwise import Pairwise, averaged, pairwise
from vlbench.leaderboard.summary import Board, Row

Seeds = tuple[int, ...]
Read = dict[str, dict[int, Scores]]
"""By row and seed."""


class Together(NamedTuple):
    """Rows that all have some seeds, compared on these."""

    places: Mapping[str, int]
    """Of the labels in `rows`."""
    rows: Pairwise

    @classmethod
    def of(cls, labels: Sequence[str], rows: Pairwise) -> Together:
        """Rows in the order of these labels."""
        return cls({label: place for place, label in enumerate(labels)}, rows)


def with_ties(board: Board, examples: Examples) -> Board:
    """The board with the tie groups of its rows and a note on the test."""
    if sum(bool(row.runs) for row in board.rows) < 2:
        return board
    faults: dict[str, str] = {}
    tables = {
        task: _tables(_read(board, task, examples, faults), number)
        for number, task in enumerate(board.mains)
    }
    columns = {metric: [task] for task, metric in board.mains.items()}
    if len(board.mains) > 1:
        columns[AVERAGE] = list(board.mains)
    ties: dict[str, dict[str, int]] = {row.label: {} for row in board.rows}
    for column, tasks in columns.items():
        joined = _joined([tables[task] for task in tasks])
        for label, group in _groups(_best_first(board, column, joined), joined, faults).items():
            ties[label][column] = group
    rows = [replace(row, ties=ties[row.label]) for row in board.rows]
    tested = [row for row in rows if row.ties]
    return replace(board, rows=rows, notes=[*board.notes, *_notes(tested, faults)])


def _read(board: Board, task: str, examples: Examples, faults: dict[str, str]) -> Read:
    """The scores of the rows that were tested on the same examples of a task."""
    found: Read = {}
    first: Scores | None = None
    for row in board.rows:
        if not row.stat(board.mains[task]).n:
            continue
        try:
            scores = {seed: examples.scores(row.runs[seed], task) for seed in sorted(row.runs)}
        except DataError:
            faults.setdefault(row.label, f"no readable predictions of {task}")
            continue
        first = first or next(iter(scores.values()))
        if all(_same(each, first) for each in scores.values()):
            found[row.label] = scores
        else:
            faults.setdefault(row.label, f"other {task} examples than the first row")
    return found


def _same(a: Scores, b: Scores) -> bool:
    return a.ids is b.ids or np.array_equal(a.ids, b.ids)


def _tables(rows: Read, number: int) -> dict[Seeds, Together]:
    """For each set of seeds that some two rows have in common, the rows that have it."""
    sets = {tuple(of_seeds) for of_seeds in rows.values()}
    common = sorted({tuple(sorted(set(a) & set(b))) for a in sets for b in sets} - {()})
    tables = {}
    for seeds in common:
        labels = [label for label in rows if set(seeds) <= set(rows[label])]
        scores = [[rows[label][seed].values for seed in seeds] for label in labels]
        tables[seeds] = Together.of(labels, pairwise(np.array(scores), number))
    return tables


def _joined(tasks: Sequence[Mapping[Seeds, Together]]) -> dict[Seeds, Together]:
    """The mean of tasks, of the rows that have them all."""
    if len(tasks) == 1:
        return dict(tasks[0])
    found = {}
    for seeds in set.intersection(*(set(task) for task in tasks)):
        parts = [task[seeds] for task in tasks]
        labels = [label for label in parts[0].places if all(label in each.places for each in parts)]
        rows = [each.rows.of([each.places[label] for label in labels]) for each in parts]
        found[seeds] = Together.of(labels, averaged(rows))
    return found


def _best_first(board: Board, column: str, tables: Mapping[Seeds, Together]) -> dict[str, Seeds]:
    """The seeds of the rows that can be tested, the row with the highest mean first."""

    def mean(row: Row) -> float | None:
        return (row.average if column == AVERAGE else row.stat(column)).mean

    means = {row.label: mean(row) for row in board.rows}
    seeds = {row.label: tuple(sorted(row.runs)) for row in board.rows}
    there = {label for table in tables.values() for label in table.places}
    ranked = sorted((-mean, label) for label, mean in means.items() if mean is not None)
    return {label: seeds[label] for _, label in ranked if label in there}


def _groups(
    left: dict[str, Seeds], tables: Mapping[Seeds, Together], faults: dict[str, str]
) -> dict[str, int]:
    """The group of each row, from 1; those without a seed of the best in hand have none."""
    groups: dict[str, int] = {}
    number = 0
    while left:
        number += 1
        best, *others = left
        apart = _apart(left, best, others, tables)
        for each in set(others) - set(apart):
            faults.setdefault(each, f"no seed in common with {best}")
        tested = [each for each in others if each in apart]
        first = next((n for n, each in enumerate(tested) if apart[each]), len(tested))
        groups |= dict.fromkeys([best, *tested[:first]], number)
        left = {each: left[each] for each in tested[first:]}
    return groups


def _apart(
    seeds: Mapping[str, Seeds], best: str, others: Sequence[str], tables: Mapping[Seeds, Together]
) -> dict[str, bool]:
    """Whether the others that have a seed of the best differ from it."""
    met: dict[Seeds, list[str]] = {}
    for each in others:
        met.setdefault(tuple(sorted(set(seeds[best]) & set(seeds[each]))), []).append(each)
    met.pop((), None)
    contests = []
    for common, labels in met.items():
        rows, places = tables[common].rows, tables[common].places
        contests.append(Contest(rows, places[best], [places[label] for label in labels]))
    told = zip(met.values(), told_apart(contests), strict=True)
    return {
        each: bool(is_so) for labels, part in told for each, is_so in zip(labels, part, strict=True)
    }


def _notes(tested: Sequence[Row], faults: Mapping[str, str]) -> list[str]:
    """What was tested, with how many seeds, and what was not."""
    notes = []
    if tested:
        seeds = max(len(row.runs) for row in tested)
        level = " shared seeds as a second level," if seeds > 1 else ""
        notes.append(
            f"Test: paired bootstrap over examples,{level} against the highest mean; 5 % with "
            "Holm's correction; few seeds tie with much (docs/statistics.md)."
        )
    single = [row.label for row in tested if len(row.runs) == 1]
    if single:
        who = "All rows" if len(single) == len(tested) else ", ".join(single)
        notes.append(f"{who}: one seed, so compared as these trained weights, not as other seeds.")
    for fault in sorted(set(faults.values())):
        labels = [label for label, said in faults.items() if said == fault]
        notes.append(f"Not tested, {fault}: {', '.join(labels)}.")
    return notes
