"""What verifying reads: stored files, and the data and weights that runs were made with.

Stored files may come from anywhere: they have known columns of known types only. Nothing is
unpickled: Parquet holds plain values, Arrow's extension types are of no known type, and what pandas
noted in a file is not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlbench import parquet
from vlbench.backbones import Features
from vlbench.cards.load import hashed
from vlbench.cards.schema import TaskCard, TrainSettings
from vlbench.data.batches import TaskData
from vlbench.data.example import Example
from vlbench.data.prepare import PreparedTask, prepare
from vlbench.errors import DataError, MissingError, VlbenchError
from vlbench.files import text_lines
from vlbench.metrics import Scored
from vlbench.parquet import LATER, MOST_RESULT_ROWS, result_schema
from vlbench.runs.plan import data_root, features_read, wanted_features, weights_hash_of
from vlbench.runs.result import majority_scored
from vlbench.runs.spec import RunSpec
from vlbench.techniques import parts_of

ANSWERS = pa.schema(
    [
        ("id", pa.string()),
        ("family", pa.string()),
        ("images", pa.list_(pa.string())),
        ("text", pa.string()),
        ("prediction", pa.string()),
        ("references", pa.string()),
        ("score", pa.float64()),
    ]
)
"""The columns of `predictions/<task>.parquet`."""
Row = dict[str, Any]


def read_rows(file: Path) -> tuple[list[Row], list[str]]:
    """The rows of a `result.parquet`, and the columns in it that this vlbench does not know."""
    return _read(file, result_schema(), LATER, MOST_RESULT_ROWS)


def read_answers(file: Path) -> list[Row]:
    """The rows of a file of predictions; none has an empty cell."""
    rows, _ = _read(file, ANSWERS, {}, parquet.MOST_ROWS)
    for row in rows:
        if None in row.values():
            empty = next(name for name, value in row.items() if value is None)
            raise DataError(f"column '{empty}' has empty cells")
        if not isfinite(row["score"]):
            raise DataError(f"the score of {row['id']} is {row['score']}, which is no number")
    return rows


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; a ValueError where it holds a lone surrogate, which is no text."""
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def read_lines(file: Path) -> list[Row]:
    """The objects of a JSON Lines file."""
    lines = []
    try:
        texts = text_lines(file)
    except OSError as error:
        raise DataError(f"cannot be read: {error}") from None
    for number, text in enumerate(texts, 1):
        try:
            line = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"line {number}: not JSON: {error}") from None
        if not isinstance(line, dict):
            raise DataError(f"line {number}: not an object")
        lines.append(line)
    return lines


def _read(
    file: Path, schema: pa.Schema, later: dict[str, Any], most_rows: int
) -> tuple[list[Row], list[str]]:
    try:
        opened = parquet.open_parquet(file)
        stored = opened.schema_arrow
        _check(stored, schema, later)
        known = [name for name in schema.names if name in stored.names]
        rows = parquet.decode(file, opened, known, most_rows).to_pylist()
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError, pa.ArrowException) as error:  # Arrow's errors are of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"not a readable Parquet file: {reason}") from None
    absent = {name: value for name, value in later.items() if name not in stored.names}
    return [{**absent, **row} for row in rows], sorted(set(stored.names) - set(schema.names))


def _check(stored: pa.Schema, schema: pa.Schema, later: dict[str, Any]) -> None:
    """Refuse columns that are missing, there twice, or of another type, before any is read."""
    faults = [
        f"column '{name}' is missing"
        for name in schema.names
        if name not in stored.names and name not in later
    ]
    for column in schema:
        indices = stored.get_all_field_indices(column.name)
        faults += [
            f"column '{column.name}' is {stored.field(index).type}, expected {column.type}"
            for index in indices[:2]
            if not stored.field(index).type.equals(column.type)
        ]
        if len(indices) > 1:
            faults.append(f"column '{column.name}' is there twice")
    if faults:
        raise DataError("; ".join(faults))


Say = Callable[[str], None]


class TaskReference:
    """The data of one task."""

    def __init__(self, prepared: PreparedTask) -> None:
        self.prepared = prepared
        self.fingerprint = prepared.fingerprint

    @cached_property
    def test(self) -> list[Example]:
        """The examples of the test split, in the order in which they are scored."""
        return list(self.prepared.test)

    @cached_property
    def majority(self) -> Scored | None:
        """Score of the most frequent training answer; None for captions."""
        return majority_scored(self.prepared.card, self.prepared.train, self.test)

    def batches(self, settings: TrainSettings) -> int:
        """Batches of an epoch of training."""
        card, train = self.prepared.card, self.prepared.train
        return TaskData(card, train, self.prepared.store, None, settings).batches


@dataclass(frozen=True)
class Reference:
    """The data of a run's tasks; empty where they are not at hand, for a reason."""

    tasks: dict[str, TaskReference] = field(default_factory=dict)
    features: Features | None = None
    reason: str = ""

    def of(self, spec: RunSpec, card: TaskCard) -> TaskReference | None:
        """The task's data where they are those of the run."""
        data = self.tasks.get(card.name)
        return data if data and data.fingerprint == spec.data.get(card.name) else None


class ReferenceData:
    """Reads the data of runs when they are needed, once for all runs alike."""

    def __init__(self, root: Path | None, say: Say, is_trusting: bool) -> None:
        self._root = root
        self._say = say
        self._is_trusting = is_trusting
        self._read: dict[str, Reference] = {}

    def of(self, spec: RunSpec) -> Reference:
        """The data of the spec's tasks as they are here now."""
        readers = [task.reader for task in spec.tasks]
        outside = sorted({name for name in (spec.encoder, *readers) if ":" in name})
        if outside and not self._is_trusting:
            return Reference(reason=refusal(outside))
        inputs = [spec.backbone, spec.encoder, spec.features, spec.edition, spec.root, spec.limit]
        key = json.dumps([[hashed(task) for task in spec.tasks], inputs, spec.data])
        if key not in self._read:
            self._read[key] = self._find(spec)
        return self._read[key]

    def _find(self, spec: RunSpec) -> Reference:
        visual = spec.tasks[0].visual
        is_mini = spec.edition == "mini"
        is_moved = bool(spec.root) and not self._root and not Path(spec.root).is_dir()
        # No key covers the root's name: where it leads nowhere, the generated edition is looked at,
        # whose fingerprints say whether it is what the run had.
        in_cache = is_mini and (not spec.root or is_moved)
        root = None if in_cache else self._root or (Path(spec.root) if spec.root else None)
        stores = (Path(store) for store in spec.features)
        features = tuple(store for store in stores if not is_mini or store.exists())
        try:
            folder = data_root(spec.tasks, spec.edition, root, self._say)
            wanted = wanted_features(spec.backbone, visual, spec.encoder, features)
            tasks = prepare(spec.tasks, spec.edition, folder, spec.limit, wanted, self._say)
            read = features_read(spec.backbone, visual, spec.encoder, tasks)
        except (VlbenchError, OSError) as error:
            lines = [line.strip() for line in str(error).strip().splitlines()[:2]]
            why = " ".join(lines) or type(error).__name__
            return Reference(reason=f"the data are not at hand: {why}")
        if is_moved and {task.card.name: task.fingerprint for task in tasks} != spec.data:
            return Reference(reason=f"the data are not at hand: {spec.root}: no such folder")
        return Reference({task.card.name: TaskReference(task) for task in tasks}, read)


class BackboneWeights:
    """Finds the weights of runs, wherever their specs say that they lay; hashes each once."""

    def __init__(self) -> None:
        self._hash = cache(weights_hash_of)

    def hash_of(self, spec: RunSpec) -> str:
        """sha256 over the files of the backbone; MissingError where they are not here."""
        return self._hash(spec.backbone, self.folder(spec), spec.tasks[0].visual)

    def folder(self, spec: RunSpec) -> Path | None:
        """The folder that the run had, where it is here; None: the backbone's usual place.

        No key covers the folder's name. So a name that leads nowhere keeps nothing from being
        checked where the usual place has the run's files; MissingError where it has others.
        """
        path = Path(spec.backbone_path) if spec.backbone_path else None
        if path is None or path.is_dir():
            return path
        if self._hash(spec.backbone, None, spec.tasks[0].visual) != spec.backbone_hash:
            raise MissingError(f"{path}: no such folder")
        return None


def outside_names(spec: RunSpec) -> list[str]:
    """What a spec names as `module:name`: techniques, readers, metrics, encoders."""
    named = [*parts_of(spec.method.technique), spec.encoder]
    for task in spec.tasks:
        named += [task.reader, task.metric, task.submission]
    return sorted({name for name in named if ":" in name})


def refusal(names: list[str]) -> str:
    """Why something cannot be checked that needs this code."""
    return f"needs code that is not vlbench's, {', '.join(names)} (--outside-code imports it)"
