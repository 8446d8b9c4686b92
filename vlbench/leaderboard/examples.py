"""What each run scored on each test example, from the predictions beside its results."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlbench.errors import DataError
from vlbench.leaderboard.parquet import read_parquet

COLUMNS = ["id", "score"]


class Scores(NamedTuple):
    """A run's scores on the test examples of a task, in the order of the ids."""

    ids: npt.NDArray[np.str_]
    """(n,), sorted."""
    values: npt.NDArray[np.float64]
    """(n,): the task's main metric is 100 times their mean."""


class Examples:
    """The scores of the runs of a results folder, read when they are asked for and then kept.

    Files that are there and cannot be read are added to `damaged`, once each.
    """

    def __init__(self, folder: Path, damaged: list[DataError] | None = None) -> None:
        self.folder = folder
        self._damaged = [] if damaged is None else damaged
        self._read: dict[tuple[str, str], Scores] = {}

    def scores(self, key: str, task: str) -> Scores:
        """The scores of run `key` on `task`; DataError where there is no readable file of them."""
        if (key, task) not in self._read:
            try:
                self._read[key, task] = read_scores(self.file(key, task))
            except DataError as error:
                is_new = str(error) not in map(str, self._damaged)
                if is_new and self.file(key, task).exists():
                    self._damaged.append(error)
                raise
        return self._read[key, task]

    def file(self, key: str, task: str) -> Path:
        """Where a run's predictions for a task lie."""
        return self.folder / "runs" / key / "predictions" / f"{task}.parquet"


def read_scores(file: Path) -> Scores:
    """The scores in a file of predictions."""
    try:
        table = read_parquet(file, COLUMNS)
    except FileNotFoundError:
        raise DataError(f"{file}: No such file; the run's predictions are not here.") from None
    if table.schema.names != COLUMNS or table.schema.types != [pa.string(), pa.float64()]:
        found = ", ".join(f"'{field.name}' {field.type}" for field in table.schema)
        raise DataError(f"{file}: 'id' string and 'score' double should be there, found {found}")
    ids = np.array(table.column("id").to_pylist(), dtype=np.str_)
    values = table.column("score").to_numpy().astype(np.float64)
    order = np.argsort(ids, kind="stable")
    return Scores(ids[order], values[order])
