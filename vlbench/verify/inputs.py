"""What verifying reads and finds: stored files, the data and weights behind them, findings.

Stored files may come from anywhere: they have known columns of known types only. Nothing is
unpickled: Parquet holds plain values, Arrow's extension types are of no known type, and what pandas
noted in a file is not read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from vlbench import parquet
from vlbench.backbones import Features
from vlbench.cards import find_tasks
from vlbench.cards.load import split_names
from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example
from vlbench.data.prepare import PreparedTask
from vlbench.errors import DataError, NothingToReport, UsageError, VlbenchError, nearest
from vlbench.files import parse_object, text_lines
from vlbench.leaderboard.load import method_name
from vlbench.metrics import Scored
from vlbench.parquet import LATER, MOST_RESULT_ROWS, result_schema
from vlbench.runs.folder import RunFolder, find_run, run_folders
from vlbench.runs.plan import adapted, read_inputs, weights_hash_of
from vlbench.runs.result import majority_scored
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import RESULT
from vlbench.techniques import parts_of
from vlbench.techniques.adapt import AdaptedModel

_TEXT = pa.string()
ANSWERS = pa.schema(
    {
        **{"id": _TEXT, "family": _TEXT, "images": pa.list_(_TEXT), "text": _TEXT},
        **{"prediction": _TEXT, "references": _TEXT, "score": pa.float64()},
    }
)
"""The columns of `predictions/<task>.parquet`."""
NEAR = 1e-9
"""Numbers are equal up to this part: other versions of Python and numpy sum in another order."""
NOTHING = 1e-15
"""What rounding may leave of a zero."""
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """One cell that does not hold."""

    file: str
    """Within the run's folder, or a card."""
    row: str = ""
    """Which row, line or example; empty where the file has none."""
    column: str = ""
    stored: object = ""
    recomputed: object = ""
    reason: str = ""
    is_since: bool = False
    """Whether the run itself may be sound: what is here now is not what it was made with."""

    @property
    def text(self) -> str:
        """The fault in a line."""
        cell = " ".join(part for part in (self.file, self.row, self.column) if part)
        has_values = not self.stored == self.recomputed == ""
        values = f"{self.stored!r}, recomputed {self.recomputed!r}" if has_values else ""
        return f"{cell}: {'; '.join(part for part in (values, self.reason) if part)}"

    def as_json(self) -> dict[str, Any]:
        """The fault as an item's part."""
        cell = {"file": self.file, "row": self.row, "column": self.column}
        values = {"stored": _plain(self.stored), "recomputed": _plain(self.recomputed)}
        return {**cell, **values, "reason": self.reason, "changed_since": self.is_since}


class Findings:
    """Cells of one run that hold, that do not, and that cannot be checked; each counts once."""

    def __init__(self) -> None:
        self.checked = 0
        self.faults: list[Fault] = []
        self.unchecked: Counter[str] = Counter()
        """Why -> cells."""

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

    def skip(self, why: str, cells: int = 1) -> None:
        """Count cells that cannot be checked, with the reason."""
        if cells:
            self.unchecked[why] += cells


def are_equal(stored: object, recomputed: object) -> bool:
    """Whether two cells are equal; numbers up to rounding."""
    if isinstance(stored, float) and isinstance(recomputed, float):
        return math.isclose(stored, recomputed, rel_tol=NEAR, abs_tol=NOTHING)
    return stored == recomputed


def _plain(value: object) -> object:
    """A value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | list | dict | None) else str(value)


@dataclass(frozen=True, slots=True)
class Filters:
    """Names and seeds of runs to verify; an empty one lets all pass."""

    methods: Sequence[str] = ()
    tasks: Sequence[str] = ()
    backbones: Sequence[str] = ()
    editions: Sequence[str] = ()
    seeds: Sequence[int] = ()


def is_done(run: Path) -> bool:
    """Whether the run has its result, or its status says that it had."""
    return (run / RESULT).is_file() or RunFolder(run).status().get("status") == "done"


def done_runs(results: Path, faults: list[DataError] | None = None) -> list[Path]:
    """The folders of runs that are done; `faults` as in `run_folders`."""
    folders = run_folders(results, faults)
    runs = [folder for folder in folders if is_done(folder)]
    if not runs and faults:
        raise faults[0]
    if not runs:
        why = f"{len(folders)} runs there, none done" if folders else "no runs there"
        raise NothingToReport(f"{results}: {why} (looked for runs/*/{RESULT}).")
    return runs


def choose(
    results: Path, named: Sequence[str], filters: Filters, faults: list[DataError] | None = None
) -> list[Path]:
    """The done runs that are named, or all, as far as they pass; `faults`: see `run_folders`.

    A run whose spec cannot be read passes every filter.
    """
    runs = done_runs(results, faults)
    if named:
        paths = {find_run(results, text).path for text in named}
        if not_done := sorted(path.name for path in paths - set(runs)):
            raise UsageError(f"{results}: not done: {', '.join(not_done)}.")
        runs = sorted(paths)
    facts: dict[Path, Row] = {}
    for run in runs:
        with suppress(DataError):
            facts[run] = RunSpec.parse(run / "spec.json")[0].facts
    passing = _passing(filters, list(facts.values()))
    left = [
        run
        for run in runs
        if run not in facts or all(facts[run][key] in values for key, values in passing.items())
    ]
    if not left:
        names = "; ".join(f"{key} {', '.join(map(str, sorted(v)))}" for key, v in passing.items())
        raise NothingToReport(f"{results}: no run that is done is of {names}.")
    return left


def _passing(filters: Filters, facts: Sequence[Row]) -> dict[str, Collection[Any]]:
    """Key of `facts` -> the values that pass; an unknown name is an error."""
    keys = ("method", "suite", "backbone", "edition")
    known = {key: {table[key] for table in facts} for key in keys}
    passing: dict[str, Collection[Any]] = {"seed": filters.seeds}
    if filters.methods:
        names = split_names(filters.methods)
        passing["method"] = {method_name(name, known["method"]) for name in names}
    if filters.tasks:
        name = "+".join(split_names(filters.tasks))
        passing["suite"] = {name if name in known["suite"] else find_tasks(filters.tasks)[0]}
    for key, texts in (("backbone", filters.backbones), ("edition", filters.editions)):
        passing[key] = split_names(texts) if texts else []
        for name in sorted(set(passing[key]) - known[key]):
            raise UsageError(f"--{key} {name}: No run is of it. {nearest(name, known[key])}")
    return {key: values for key, values in passing.items() if values}


def read_rows(file: Path) -> tuple[list[Row], list[str]]:
    """The rows of a `result.parquet`, and the columns in it that this vlbench does not know."""
    return _read(file, result_schema(), LATER, MOST_RESULT_ROWS)


def read_answers(file: Path) -> list[Row]:
    """The rows of a file of predictions; none has an empty cell."""
    rows, _ = _read(file, ANSWERS, {}, parquet.MOST_ROWS)
    for row in rows:
        if empty := [name for name, value in row.items() if value is None]:
            raise DataError(f"column '{empty[0]}' has empty cells")
        if not math.isfinite(row["score"]):
            raise DataError(f"the score of {row['id']} is {row['score']}, which is no number")
    return rows


def read_lines(file: Path) -> list[Row]:
    """The objects of a JSON Lines file."""
    lines = []
    try:
        texts = text_lines(file)
    except OSError as error:
        raise DataError(f"cannot be read: {error}") from None
    for number, text in enumerate(texts, 1):
        try:
            lines.append(parse_object(text))
        except ValueError as error:
            raise DataError(f"line {number}: not a JSON object: {error}") from None
    return lines


def _read(file: Path, schema: pa.Schema, later: Row, most_rows: int) -> tuple[list[Row], list[str]]:
    """Rows in the known columns, and names of the others; wrong columns are refused unread."""
    faults = []
    try:
        opened = parquet.open_parquet(file)
        stored = opened.schema_arrow
        for column in schema:
            at = stored.get_all_field_indices(column.name)
            types = [stored.field(index).type for index in at]
            if types != [column.type] and (types or column.name not in later):
                stored_type = " and ".join(map(str, types)) or "missing"
                faults.append(f"column '{column.name}' is {stored_type}, expected {column.type}")
        if faults:
            raise DataError("; ".join(faults))
        known = [name for name in schema.names if name in stored.names]
        rows = parquet.decode(file, opened, known, most_rows).to_pylist()
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError, pa.ArrowException) as error:  # Arrow's errors are of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"not a readable Parquet file: {reason}") from None
    absent = {name: value for name, value in later.items() if name not in known}
    return [{**absent, **row} for row in rows], sorted(set(stored.names) - set(schema.names))


Say = Callable[[str], None]


@dataclass(frozen=True)
class TaskReference:
    """The data of one task."""

    prepared: PreparedTask

    @cached_property
    def test(self) -> list[Example]:
        """The examples of the test split, in the order in which they are scored."""
        return list(self.prepared.test)

    @cached_property
    def majority(self) -> Scored | None:
        """Score of the most frequent training answer; None for captions."""
        return majority_scored(self.prepared.card, self.prepared.train, self.test)


@dataclass(frozen=True)
class Reference:
    """The data of a run's tasks; empty where they are not at hand, for a reason."""

    tasks: dict[str, TaskReference] = field(default_factory=dict)
    features: Features | None = None
    reason: str = ""

    def of(self, spec: RunSpec, card: TaskCard) -> TaskReference | None:
        """The task's data where they are those of the run."""
        task = self.tasks.get(card.name)
        return task if task and task.prepared.fingerprint == spec.data.get(card.name) else None


class Here:
    """Data, weights and models of runs as they are here now; each is read or built once."""

    def __init__(self, root: Path | None, say: Say, is_trusting: bool) -> None:
        self.is_trusting = is_trusting
        self._root = root
        self._say = say
        self._kept: dict[str, Any] = {}

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, kept under `key`."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def data(self, spec: RunSpec) -> Reference:
        """The data of the spec's tasks."""
        outside = [name for name in (spec.encoder, *(t.reader for t in spec.tasks)) if ":" in name]
        if outside and not self.is_trusting:
            return Reference(reason=refusal(outside))
        inputs = {"tasks", "backbone", "encoder", "features", "edition", "root", "limit", "data"}
        return self.once(spec.model_dump_json(include=inputs), lambda: self._read(spec))

    def _read(self, spec: RunSpec) -> Reference:
        """Read the data where the run had them, or below `--root`."""
        root = spec.root and str(self._root or spec.root)
        try:
            inputs = read_inputs(spec.model_copy(update={"root": root}), self._say, "cpu")
        except (VlbenchError, OSError) as error:
            lines = [line.strip() for line in str(error).strip().splitlines()[:2]]
            why = " ".join(lines) or type(error).__name__
            return Reference(reason=f"the data are not at hand: {why}")
        tasks = {task.card.name: TaskReference(task) for task in inputs.tasks}
        return Reference(tasks, inputs.features)

    def weights_hash(self, spec: RunSpec) -> str:
        """sha256 over the backbone's files; MissingError where they are not here."""
        visual, path = spec.tasks[0].visual, spec.backbone_path
        key = f"weights {spec.backbone} {path} {visual}"
        folder = Path(path) if path else None
        return self.once(key, lambda: weights_hash_of(spec.backbone, folder, visual))

    def model(self, spec: RunSpec, features: Features | None) -> AdaptedModel | str:
        """The run's model on shapes alone, or why it cannot be built here."""
        if spec.encoder and features is None:
            return f"the width of the features of {spec.encoder} is not known here"
        outside = [part for part in parts_of(spec.method.technique) if ":" in part]
        if outside and not self.is_trusting:
            return refusal(outside)

        def build() -> AdaptedModel | str:
            try:
                return adapted(spec, features, meta=True)
            except VlbenchError as error:
                return f"the model cannot be built: {' '.join(str(error).split())}"

        shapes = spec.model_dump_json(include={"method", "tasks", "backbone", "backbone_path"})
        return self.once(f"{shapes} {features}", build)


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
