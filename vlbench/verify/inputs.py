"""What verifying reads and finds: runs that are done, the files they stored, findings.

Stored files may come from anywhere: they have known columns of known types only, and nothing is
unpickled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from reprlib import repr
from typing import Any

import pyarrow as pa

from vlbench.cards import find_tasks
from vlbench.cards.load import split_names
from vlbench.errors import DataError, NothingToReport
from vlbench.leaderboard.load import Filters, known_in, method_name
from vlbench.leaderboard.results import read_result, read_table
from vlbench.runs.folder import RunFolder, stored_runs
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import RESULT
from vlbench.techniques import parts_of

_TEXT = pa.string()
ANSWERS = pa.schema(
    pa.field(name, type, nullable=False)
    for name, type in {
        **{"id": _TEXT, "family": _TEXT, "images": pa.list_(_TEXT), "text": _TEXT},
        **{"prediction": _TEXT, "references": _TEXT, "score": pa.float64()},
    }.items()
)
"""The columns of `predictions/<task>.parquet`."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One cell that does not hold."""

    file: str  # within the run's folder, or a card
    row: str = ""  # or example; empty where the file has none
    column: str = ""
    stored: object = ""
    recomputed: object = ""
    reason: str = ""
    is_since: bool = False  # what is here now is otherwise: the run itself may be sound

    @property
    def text(self) -> str:
        """The fault in a line."""
        cell = " ".join(filter(None, (self.file, self.row, self.column)))
        has_values = not self.stored == self.recomputed == ""
        values = f"{repr(self.stored)}, recomputed {repr(self.recomputed)}" if has_values else ""
        return f"{cell}: {'; '.join(filter(None, (values, self.reason)))}"

    def as_json(self) -> dict[str, Any]:
        """The fault as part of an item."""
        cell = {"file": self.file, "row": self.row, "column": self.column}
        values = {"stored": _plain(self.stored), "recomputed": _plain(self.recomputed)}
        return {**cell, **values, "reason": self.reason, "changed_since": self.is_since}


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | list | dict | None) else str(value)


class Findings:
    """Cells of one run that hold, that do not, and that cannot be checked; each counts once."""

    def __init__(self) -> None:
        self.checked = 0
        self.faults: list[Fault] = []
        self.unchecked: Counter[str] = Counter()  # cells by reason

    def cell(
        self, file: str, row: str, column: str, stored: object, recomputed: object, *more: Any
    ) -> None:
        """Compare a stored cell with its recomputed value; `more` as of `Fault`."""
        if are_equal(stored, recomputed):
            self.checked += 1
        else:
            self.fault(file, row, column, stored, recomputed, *more)

    def fault(self, *cell: Any, **more: Any) -> None:
        """Count what should not exist, or does not and should; arguments as of `Fault`."""
        self.checked += 1
        self.faults.append(Fault(*cell, **more))

    def unreadable(self, file: Traversable, name: str, error: Exception) -> None:
        """Count a file that cannot be read; `name` is within the run's folder."""
        text = " ".join(str(error).removeprefix(f"{file}: ").split())
        self.fault(name, reason=text[:500] or type(error).__name__)

    def skip(self, why: str, cells: int = 1) -> None:
        """Count cells that cannot be checked, with the reason."""
        self.unchecked += Counter({why: cells})


def are_equal(stored: object, recomputed: object) -> bool:
    """Whether two cells are equal; numbers up to rounding, as Pythons sum in other orders."""
    if isinstance(stored, float) and isinstance(recomputed, float):
        return math.isclose(stored, recomputed, rel_tol=1e-9, abs_tol=1e-15)
    return stored == recomputed


def is_done(run: Traversable) -> bool:
    """Whether the run has its result, or its status says that it had."""
    if (run / RESULT).is_file() or not isinstance(run, Path):
        return True
    return RunFolder(run).status().get("status") == "done"


def choose(
    results: Path, filters: Filters, faults: list[DataError] | None = None
) -> list[Traversable]:
    """The runs that are done and pass; `faults`: see `run_folders`.

    A run whose spec cannot be read passes every filter; an unknown name is an error.
    """
    folders = stored_runs(results, faults)
    runs = [folder for folder in folders if is_done(folder)]
    if not runs and faults:
        raise faults[0]
    if not runs:
        why = f"{len(folders)} runs there, none done" if folders else "no runs there"
        raise NothingToReport(f"{results}: {why} (looked for runs/*/{RESULT} and packed/).")
    facts: dict[Traversable, Row] = {}
    for run in runs:
        with suppress(DataError):
            facts[run] = RunSpec.parse(run / "spec.json")[0].facts
    keys = ("method", "suite", "backbone", "edition")
    known = {key: {table[key] for table in facts.values()} for key in keys}
    passing: dict[str, Collection[Any]] = {"seed": filters.seeds}
    if filters.methods:
        names = split_names(filters.methods)
        passing["method"] = {method_name(name, known["method"]) for name in names}
    if filters.tasks:
        name = "+".join(split_names(filters.tasks))
        passing["suite"] = {name if name in known["suite"] else find_tasks(filters.tasks)[0]}
    passing["backbone"] = known_in(known["backbone"], "backbone", filters.backbone)
    passing["edition"] = known_in(known["edition"], "edition", filters.edition)
    passing = {key: values for key, values in passing.items() if values}
    left = [
        run
        for run in runs
        if run not in facts or all(facts[run][key] in values for key, values in passing.items())
    ]
    if not left:
        text = "; ".join(f"{key} {', '.join(map(str, sorted(v)))}" for key, v in passing.items())
        raise NothingToReport(f"{results}: no run that is done is of {text}.")
    return left


def read_rows(file: Traversable) -> list[Row]:
    """Read the rows of a `result.parquet`; DataError where its columns are not those of ours."""
    rows: list[Row] = read_result(file).to_pylist()
    return rows


def read_answers(file: Traversable) -> list[Row]:
    """Read the rows of a file of predictions; DataError where its columns are not those of ours."""
    rows: list[Row] = read_table(file, ANSWERS).to_pylist()
    return rows


def outside_names(spec: RunSpec) -> list[str]:
    """What a spec names as `module:name`: techniques, readers, metrics, encoders."""
    named = [*parts_of(spec.method.technique), spec.encoder]
    for task in spec.tasks:
        named += [task.reader, task.metric, task.submission]
    return sorted({name for name in named if ":" in name})


def refusal(names: Sequence[str]) -> str:
    """Why something cannot be checked that needs this code."""
    code = ", ".join(sorted(set(names)))
    return f"needs code that is not vlbench's, {code} (--outside-code imports it)"
