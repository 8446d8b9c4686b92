"""One run as its result rows tell it, and which runs saw the same data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vlbench.columns import COLUMNS
from vlbench.text import printable

INTEGERS = frozenset(column.name for column in COLUMNS if column.type == "int64")
OF_ROWS = (
    "status", "task", "metric", "main", "family", "value", "majority", "n_examples",
    "evaluate_seconds", "data_fingerprint", "card_hash",
)  # fmt: skip
"""The columns in which rows of a run differ."""


class Family(NamedTuple):
    """A question family: its examples, and what always giving the most frequent answer scores."""

    n_examples: int
    majority: float | None


class Ground(NamedTuple):
    """What a task's column stands on: values on other grounds do not belong in it."""

    data_fingerprint: str
    metric: str
    n_examples: int


@dataclass(frozen=True)
class Run:
    """One run: what is the same in all of its rows, and its test values."""

    key: str
    facts: Mapping[str, Any]
    values: Mapping[tuple[str, str], float | None]
    """By metric and family; family "" is all examples."""
    mains: Mapping[str, str]
    """The main metric by task."""
    grounds: Mapping[str, Ground]
    """By task."""
    families: Mapping[tuple[str, str], Family]
    """By main metric and family; family "" is all examples."""
    card: str
    """The hashes of its cards."""

    @property
    def is_done(self) -> bool:
        """Whether the run has values at all."""
        return bool(self.facts["status"] == "done")

    @property
    def age(self) -> tuple[str, int]:
        """Sorts runs from old to new."""
        return str(self.facts["created_at"]), self.facts["attempt"] or 0

    def average(self, metrics: Sequence[str]) -> float | None:
        """The plain mean of these metrics, where all are there."""
        values = [self.values.get((metric, "")) for metric in metrics]
        there = [value for value in values if value is not None]
        return statistics.fmean(there) if there and len(there) == len(metrics) else None


def read_runs(results: pd.DataFrame) -> list[Run]:
    """The runs of a table of results, with their rows on the test split."""
    test = results[results["split"] == "test"].sort_values("key", kind="stable")
    firsts = np.flatnonzero(~test["key"].duplicated().to_numpy())
    of_runs = test.iloc[firsts]
    facts = {name: _cells(name, of_runs[name]) for name in of_runs.columns}
    rows = {name: _cells(name, test[name]) for name in OF_ROWS}
    return [
        _run(
            {name: cells[place] for name, cells in facts.items()},
            [{name: cells[row] for name, cells in rows.items()} for row in range(start, end)],
        )
        for place, (start, end) in enumerate(pairwise([*firsts.tolist(), len(test)]))
    ]


def same_data(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs apart by their data; a run that lacks a task joins those it agrees with."""
    parts: list[tuple[dict[str, Ground], list[Run]]] = []
    for run in sorted(runs, key=lambda run: (-len(run.grounds), sorted(run.grounds.items()))):
        for grounds, members in parts:
            if all(grounds.get(task, ground) == ground for task, ground in run.grounds.items()):
                grounds.update(run.grounds)
                members.append(run)
                break
        else:
            parts.append((dict(run.grounds), [run]))
    return [members for _, members in parts]


def _run(facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Run:
    done = [row for row in rows if row["status"] == "done"]
    overall = [row for row in rows if row["main"] and row["family"] == ""]
    seconds = [row["evaluate_seconds"] for row in overall]
    return Run(
        key=str(facts["key"]),
        facts={**facts, "evaluate_seconds": None if None in seconds else math.fsum(seconds)},
        values={(row["metric"], row["family"]): row["value"] for row in done},
        mains={row["task"]: row["metric"] for row in overall},
        grounds={
            row["task"]: Ground(str(row["data_fingerprint"]), row["metric"], row["n_examples"] or 0)
            for row in overall
            if row["status"] == "done"
        },
        families={
            (row["metric"], row["family"]): Family(row["n_examples"] or 0, row["majority"])
            for row in done
            if row["main"]
        },
        card="+".join(sorted({str(row["card_hash"]) for row in rows})),
    )


def _cells(name: str, column: pd.Series[Any]) -> list[Any]:
    """A column in Python's own types: None for an empty cell; equal texts are one object.

    Here text from outside comes in, so it is made printable: all that is shown is made of runs.
    """
    if column.dtype.kind == "f":
        plain = int if name in INTEGERS else float
        return [plain(value) if math.isfinite(value) else None for value in column.tolist()]
    codes, kinds = pd.factorize(column)
    there = [printable(kind) if isinstance(kind, str) else kind for kind in kinds.tolist()]
    shared = [*there, None]  # an empty cell has the code -1
    return [shared[code] for code in codes.tolist()]
