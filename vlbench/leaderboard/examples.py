"""What each run scored on each test example, from the predictions beside its results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlbench.errors import DataError
from vlbench.leaderboard.parquet import read_parquet
from vlbench.leaderboard.statistics import RowScores
from vlbench.leaderboard.summary import Row

NLVR2_IMAGE = re.compile(r"(.+-\d+)-\d+-img[01]")
"""`split-set-pair-img0`: the pairs of a set, and its sentences, share pictures and wording."""


class Scores(NamedTuple):
    """A run's scores on the test examples of a task, in the order of the ids."""

    ids: npt.NDArray[np.str_]
    """(n,), sorted."""
    values: npt.NDArray[np.float64]
    """(n,): the task's main metric is 100 times their mean."""


class Examples:
    """The scores of the runs of a results folder, read when they are needed and then kept.

    Files that exist and cannot be read are added to `damaged`, once each.
    """

    def __init__(self, folder: Path, damaged: list[DataError] | None = None) -> None:
        self.folder = folder
        self._damaged = [] if damaged is None else damaged
        self._scores: dict[tuple[str, str], Scores] = {}
        self._clusters: dict[str, tuple[npt.NDArray[np.str_], npt.NDArray[np.intp]]] = {}

    def scores(self, key: str, task: str) -> Scores:
        """Return the scores of run `key` on `task`; DataError where no file of them is readable."""
        if (key, task) not in self._scores:
            try:
                self._scores[key, task] = read_scores(self.file(key, task))
            except DataError as error:
                is_new = str(error) not in map(str, self._damaged)
                if is_new and self.file(key, task).exists():
                    self._damaged.append(error)
                raise
        return self._scores[key, task]

    def clusters(self, key: str, task: str) -> npt.NDArray[np.intp]:
        """Return the number of each example's cluster, in the order of the ids: its picture or set.

        Runs with the same examples share them, so that one file of predictions is read for all.
        """
        ids = self.scores(key, task).ids
        known = self._clusters.get(task)
        if known is None or not same_ids(known[0], ids):
            known = self._clusters[task] = ids, read_clusters(self.file(key, task))
        return known[1]

    def file(self, key: str, task: str) -> Path:
        """Return the path of a run's predictions for a task."""
        return self.folder / "runs" / key / "predictions" / f"{task}.parquet"

    def row_scores(self, row: Row, tasks: Sequence[str]) -> RowScores:
        """Return a row's scores on the plain mean of tasks, over all of its seeds.

        DataError where a file of predictions is missing, or the seeds were tested on different
        examples.
        """
        seeds = sorted(row.runs)
        matrices, clusters = [], []
        for task in tasks:
            scores = [self.scores(row.runs[seed], task) for seed in seeds]
            for seed, other in zip(seeds, scores, strict=True):
                refuse_other_examples(
                    task, (row.label, seed, other.ids), (row.label, seeds[0], scores[0].ids)
                )
            matrices.append(np.stack([seed_scores.values for seed_scores in scores]))
            clusters.append(self.clusters(row.runs[seeds[0]], task))
        return RowScores.of(matrices, clusters)


Tested = tuple[str, int, npt.NDArray[np.str_]]
"""A row's label, one of its seeds, and the ids of the examples it was tested on."""


def refuse_other_examples(task: str, one: Tested, other: Tested) -> None:
    """Raise DataError where two runs were tested on different examples."""
    if not same_ids(one[2], other[2]):
        count = len(np.setxor1d(one[2], other[2]))
        raise DataError(
            f"{one[0]} seed {one[1]} was tested on other {task} examples than {other[0]} seed "
            f"{other[1]}: {count} id{'s differ' if count != 1 else ' differs'}."
        )


def same_ids(a: npt.NDArray[np.str_], b: npt.NDArray[np.str_]) -> bool:
    """Return whether two runs have the same examples."""
    return a is b or np.array_equal(a, b)


def read_scores(file: Path) -> Scores:
    """Read the scores in a file of predictions."""
    table = _read(file, {"id": pa.string(), "score": pa.float64()})
    ids = np.array(table.column("id").to_pylist(), dtype=np.str_)
    values = table.column("score").to_numpy().astype(np.float64)
    order = np.argsort(ids, kind="stable")
    return Scores(ids[order], values[order])


def read_clusters(file: Path) -> npt.NDArray[np.intp]:
    """Read which examples share a picture (NLVR2: a set of pairs), in the order of the ids."""
    table = _read(file, {"id": pa.string(), "images": pa.list_(pa.string())})
    ids = np.array(table.column("id").to_pylist(), dtype=np.str_)
    names = [
        NLVR2_IMAGE.sub(r"\1", images[0] or "") if images else example
        for example, images in zip(ids, table.column("images").to_pylist(), strict=True)
    ]
    clusters = np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1]
    return clusters[np.argsort(ids, kind="stable")]


def _read(file: Path, columns: dict[str, pa.DataType]) -> pa.Table:
    try:
        table = read_parquet(file, list(columns))
    except FileNotFoundError:
        raise DataError(f"{file}: No such file; the run's predictions are not here.") from None
    if not table.schema.equals(pa.schema(columns.items())):
        fields = ", ".join(f"'{field.name}' {field.type}" for field in table.schema)
        wanted = " and ".join(f"'{name}' {kind}" for name, kind in columns.items())
        raise DataError(f"{file}: {wanted} should be there, found {fields}")
    return table
