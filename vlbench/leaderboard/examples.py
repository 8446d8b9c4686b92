"""Scores of each run on each test example, and which rows of a board they do not tell apart.

Down a column by its means, the best row and those behind it are tie group 1, up to the first that
is significantly different from it, after Holm's correction. That one begins group 2, and so on.
Rows with fewer seeds than five have no group, but for the best, which then stands alone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlbench.errors import DataError
from vlbench.leaderboard.board import Board, Row
from vlbench.leaderboard.normalised import NORMALISED
from vlbench.leaderboard.results import read_parquet
from vlbench.leaderboard.statistics import LEAST_SEEDS, LEVEL, RowScores, Scale, holm, p_values
from vlbench.runs.packed import Pack, PackedPath, packs_of
from vlbench.runs.sums import RESULT

NLVR2_IMAGE = re.compile(r"(.+-\d+)-\d+-img[01]")
"""`split-set-pair-img0`: the pairs of a set, and its sentences, share pictures and wording."""
Ids = npt.NDArray[np.str_]
Sorted = dict[bytes, tuple[Ids, npt.NDArray[np.intp]]]
"""What ids stand in a file, in its order -> sorted ids, and the order that sorts them."""


class Scores(NamedTuple):
    """A run's scores on the test examples of a task, in the order of the ids."""

    ids: Ids  # (n,), sorted
    values: npt.NDArray[np.float64]  # (n,): the task's main metric is 100 times their mean


class PackedScores:
    """The scores of all runs in a pack; ids that stand in the same order are sorted once."""

    def __init__(self, pack: Pack) -> None:
        ids, scores = (pack.column("predictions", name) for name in ("id", "score"))
        self._names = ids.chunk(0).dictionary.to_pylist() if ids.num_chunks else []
        parts = [np.empty(0, np.int32), *(chunk.indices.to_numpy(False) for chunk in ids.chunks)]
        self._ids = np.concatenate(parts)
        self._values = scores.to_numpy()
        self._ranges = pack.ranges("predictions")
        self._sorted: Sorted = {}
        self.is_whole = not ids.null_count and bool(np.isfinite(self._values).all())

    def scores(self, key: str, task: str) -> Scores:
        """Return the scores of a run on a task; KeyError where it has none."""
        start, count = self._ranges[key, task]
        ids = self._ids[start : start + count]
        names, order = in_order(self._sorted, ids.tobytes(), lambda: [self._names[i] for i in ids])
        return Scores(names, self._values[start : start + count][order])


class Examples:
    """The scores of the runs of a results folder, read when they are needed and then kept.

    Files that exist and cannot be read are added to `damaged`, once each.
    """

    def __init__(self, folder: Path, damaged: list[DataError] | None = None) -> None:
        self.folder = folder
        self._damaged = [] if damaged is None else damaged
        self._scores: dict[tuple[str, str], Scores] = {}
        self._packed: dict[Pack, PackedScores] = {}
        self._sorted: Sorted = {}
        self._clusters: dict[str, tuple[Ids, npt.NDArray[np.intp]]] = {}

    def scores(self, key: str, task: str) -> Scores:
        """Return the scores of run `key` on `task`; DataError where no file of them is readable."""
        if (key, task) not in self._scores:
            try:
                self._scores[key, task] = self._read(key, task)
            except DataError as error:
                is_new = str(error) not in map(str, self._damaged)
                if is_new and self.file(key, task).is_file():
                    self._damaged.append(error)
                raise
        return self._scores[key, task]

    def _read(self, key: str, task: str) -> Scores:
        pack = self._packs.get(key)
        if pack and (key, task) in pack.ranges("predictions"):
            if pack not in self._packed:
                self._packed[pack] = PackedScores(pack)
            if self._packed[pack].is_whole:
                return self._packed[pack].scores(key, task)
        return read_scores(self.file(key, task), self._sorted)  # which names what is damaged

    @cached_property
    def _packs(self) -> dict[str, Pack]:
        """The packs of the runs that are read from one."""
        runs = self.folder / "runs"
        begun = {*os.listdir(runs)} if runs.is_dir() else set()
        return {
            key: pack
            for pack in reversed(packs_of(self.folder, []))
            for key in pack.keys
            if key not in begun or not os.path.lexists(runs / key / RESULT)
        }

    def clusters(self, key: str, task: str) -> npt.NDArray[np.intp]:
        """Return the number of each example's cluster, in the order of the ids: its picture or set.

        Runs with the same examples share them, so that one file of predictions is read for all.
        """
        ids = self.scores(key, task).ids
        known = self._clusters.get(task)
        if known is None or not same_ids(known[0], ids):
            known = self._clusters[task] = ids, read_clusters(self.file(key, task))
        return known[1]

    def file(self, key: str, task: str) -> Traversable:
        """Return the file of a run's predictions for a task."""
        pack = self._packs.get(key)
        run = PackedPath(pack, key) if pack else self.folder / "runs" / key
        return run / "predictions" / f"{task}.parquet"

    def ids(self, row: Row, task: str) -> Ids:
        """Return the examples that a row was tested on; DataError where its seeds differ."""
        ids = [self.scores(key, task).ids for key in row.runs.values()]
        if not all(same_ids(others, ids[0]) for others in ids):
            raise DataError(f"seeds of {row.label} were tested on different examples of {task}")
        return ids[0]

    def row_scores(self, row: Row, tasks: Sequence[str]) -> RowScores:
        """Return a row's scores on the plain mean of tasks, over all of its seeds.

        DataError where predictions are missing, or the seeds were tested on different examples.
        """
        for task in tasks:
            self.ids(row, task)
        return RowScores.of_tasks([self.rows_scores([row], task)[row.label] for task in tasks])

    def rows_scores(self, rows: Sequence[Row], task: str) -> dict[str, RowScores]:
        """Return the scores on a task of rows that were tested on the same examples, by label."""
        by_label: dict[str, RowScores] = {}
        for k in {len(row.runs) for row in rows}:
            alike = [row for row in rows if len(row.runs) == k]
            values = [[self.scores(key, task).values for key in r.runs.values()] for r in alike]
            clusters = self.clusters(next(iter(alike[0].runs.values())), task)
            parts = RowScores.of_rows(np.array(values), clusters)
            by_label |= {row.label: part for row, part in zip(alike, parts, strict=True)}
        return by_label


def same_ids(a: Ids, b: Ids) -> bool:
    """Return whether two runs have the same examples."""
    return a is b or np.array_equal(a, b)


def read_scores(file: Traversable, known: Sorted) -> Scores:
    """Read the scores in a file of predictions; ids that are in `known` are not sorted again."""
    ids, scores = _read(file, {"id": pa.string(), "score": pa.float64()})
    whole = ids.combine_chunks()
    digest = hashlib.sha256(f"{whole.offset} {len(whole)}".encode())
    for buffer in filter(None, whole.buffers()):
        digest.update(buffer)
    names, order = in_order(known, digest.digest(), whole.to_pylist)
    return Scores(names, scores.to_numpy().astype(np.float64)[order])


def in_order(
    known: Sorted, digest: bytes, ids: Callable[[], list[str]]
) -> tuple[Ids, npt.NDArray[np.intp]]:
    """Return the ids in their order, and what sorts them, of `known` or from now on."""
    if digest not in known:
        names = np.array(ids(), dtype=np.str_)
        order = np.argsort(names, kind="stable")
        known[digest] = names[order], order
    return known[digest]


def read_clusters(file: Traversable) -> npt.NDArray[np.intp]:
    """Read which examples share a picture (NLVR2: a set of pairs), in the order of the ids."""
    ids, images = _read(file, {"id": pa.string(), "images": pa.list_(pa.string())})
    names = [
        NLVR2_IMAGE.sub(r"\1", pictures[0] or "") if pictures else example
        for example, pictures in zip(ids.to_pylist(), images.to_pylist(), strict=True)
    ]
    clusters = np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1]
    return clusters[np.argsort(np.array(ids.to_pylist(), dtype=np.str_), kind="stable")]


def with_ties(board: Board, examples: Examples) -> Board:
    """Return the board with the tie groups of its rows and a note on the test."""
    if sum(bool(row.runs) for row in board.rows) < 2:
        return board
    faults: dict[str, str] = {}
    testable = {task: _testable(board, task, examples, faults) for task in board.mains}
    scores_of = {task: examples.rows_scores(rows, task) for task, rows in testable.items()}
    ties: dict[str, dict[str, int]] = {row.label: {} for row in board.rows}
    for column in board.columns:
        parts = board.tasks_of(column)
        rows = [row for row in board.rows if all(row.label in scores_of[task] for task in parts)]
        rows = [row for row in rows if row.stat(column).n]
        if len(rows) < 2:
            continue
        rows.sort(key=lambda row: (-(row.stat(column).mean or 0.0), row.label))
        scores = {
            row.label: RowScores.of_tasks([scores_of[task][row.label] for task in parts])
            for row in rows
        }
        scale = None
        if column == NORMALISED and board.ruler:
            if board.ruler.row not in scores:
                continue  # _notes says why
            scale = Scale(scores[board.ruler.row], board.ruler.fractions)
        for label, group in tie_groups(scores, scale).items():
            ties[label][column] = group
    marked = [replace(row, ties=ties[row.label]) for row in board.rows]
    return replace(board, rows=marked, notes=[*board.notes, *_notes(marked, faults)])


def tie_groups(rows: Mapping[str, RowScores], scale: Scale | None = None) -> dict[str, int]:
    """Return the group of each row that has one, from 1; rows come best first."""
    left = [label for label, row in rows.items() if len(row.seed_means) >= LEAST_SEEDS]
    if (first_of_all := next(iter(rows))) not in left:
        return {first_of_all: 1}
    groups: dict[str, int] = {}
    while left:
        best, *others = left
        tested = [rows[label] for label in others]
        p = holm(p_values(rows[best], tested, scale).tolist()) if others else []
        first = next((n for n, value in enumerate(p) if value < LEVEL), len(others))
        number = max(groups.values(), default=0) + 1
        groups |= dict.fromkeys([best, *others[:first]], number)
        left = others[first:]
    return groups


def _testable(board: Board, task: str, examples: Examples, faults: dict[str, str]) -> list[Row]:
    """The rows whose runs were all tested on the first row's examples of a task."""
    rows: list[Row] = []
    first = None
    for row in board.rows:
        if row.stat(board.mains[task]).n:
            try:
                ids = [examples.scores(key, task).ids for key in row.runs.values()]
                examples.clusters(next(iter(row.runs.values())), task)
            except DataError:
                faults.setdefault(row.label, f"no readable predictions of {task}")
                continue
            first = ids[0] if first is None else first
            if all(same_ids(seed_ids, first) for seed_ids in ids):
                rows.append(row)
            else:
                faults.setdefault(row.label, f"other {task} examples than the first row")
    return rows


def _notes(rows: Sequence[Row], faults: Mapping[str, str]) -> list[str]:
    notes = []
    sure = [row for row in rows if len(row.runs) >= LEAST_SEEDS]
    few = [row.label for row in rows if 0 < len(row.runs) < LEAST_SEEDS]
    if any(row.ties for row in sure):
        notes.append(
            "Test: Student's t against the highest mean, examples paired, seeds unpaired (Welch); "
            "5 % after Holm's correction (docs/statistics.md)."
        )
    if few:
        who = ", ".join(few) if sure else "all rows"
        notes.append(
            f"Fewer than {LEAST_SEEDS} seeds, so no ties: only the best mean is bold: {who}."
        )
    for fault in sorted(set(faults.values())):
        labels = [label for label, reason in faults.items() if reason == fault]
        notes.append(f"Not tested, {fault}: {', '.join(labels)}.")
    return notes


def _read(file: Traversable, columns: dict[str, pa.DataType]) -> list[pa.ChunkedArray]:
    try:
        table = read_parquet(file, list(columns))
    except FileNotFoundError:
        raise DataError(f"{file}: No such file; the run's predictions are not here.") from None
    if not table.schema.equals(pa.schema(columns.items())):
        expected = " and ".join(f"'{name}' {kind}" for name, kind in columns.items())
        raise DataError(f"{file}: {expected} should be there")
    return list(table.columns)
