"""The rows of `result.parquet` against the spec, the model, the predictions and each other."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vlbench.cards.task import TaskCard
from vlbench.running.result import Value, count_cells, values
from vlbench.running.spec import RunSpec
from vlbench.running.sums import RESULT
from vlbench.verifying.answers import Answered
from vlbench.verifying.findings import Findings
from vlbench.verifying.ground import Ground, TaskGround
from vlbench.verifying.sizes import Size, fitting
from vlbench.verifying.stored import Row

MEASURED_ONLY = (
    "measured while the run went: well-formed and the same in all rows, no more is known"
)
NO_MAJORITY = "the majority answer follows from the training data, which are not at hand"
NO_RECORDS = "this metric needs the official records, which are not at hand"
HEADER = "what the tensors' shapes take, with the method's card in the header as spec.json has it"
TRAINED = "train_seconds x examples_per_second"
TRAINED_NEAR = 1e-6
_CODE = re.compile(r"\d+\.\d+[\w.+-]*( [0-9a-f]{7,40}(\+dirty)?)?")
_DEVICE = re.compile(r"(\d+ x )?(cpu|cuda): \S.*")


def check_spec_cells(rows: Sequence[Row], spec: RunSpec, findings: Findings) -> None:
    """Every cell that repeats the spec."""
    shared = {**spec.cells, "status": "done"}
    for row in rows:
        for column, value in shared.items():
            findings.cell(RESULT, label(row), column, row[column], value)
        of_task = spec.data.get(row["task"])
        findings.cell(RESULT, label(row), "data_fingerprint", row["data_fingerprint"], of_task)
        if device := _DEVICE.fullmatch(str(row["device"])):
            findings.cell(RESULT, label(row), "device", device[2], spec.device, "as spec.json says")


def check_size(
    rows: Sequence[Row], size: Size | str, lengths: Sequence[int], findings: Findings
) -> None:
    """Every count and percentage of parameters, and the bytes of the trained tensors."""
    if isinstance(size, str):
        findings.skip(size, len(rows) * 5)  # four columns of counts, and adapter_bytes
        return
    expected = count_cells(size.counts)
    for row in rows:
        for column, value in expected.items():
            findings.cell(RESULT, label(row), column, row[column], value)
        if lengths:
            found = row["adapter_bytes"]
            wanted = fitting(found, lengths)
            findings.cell(RESULT, label(row), "adapter_bytes", found, wanted, HEADER)
        else:
            findings.skip("trained tensors of a type whose bytes are not known")


def check_values(
    rows: Sequence[Row],
    card: TaskCard,
    ground: TaskGround | None,
    answered: Answered | str,
    findings: Findings,
) -> None:
    """The values of a task, each with its majority and its number of examples."""
    own = [row for row in rows if row["task"] == card.name]
    for (split, metric, family), times in _times(own).items():
        if times > 1 or split != "test":
            stored = f"{times} rows" if times > 1 else "a row"
            wanted = "one" if split == "test" else "runs keep rows of the split test only"
            findings.fault(RESULT, _label(metric, family, split), "", stored, wanted)
    if isinstance(answered, str):
        _check_numbers(own, findings)
        findings.skip(answered, len(own) * len(("value", "majority", "n_examples", "main")))
        return
    majority = ground.majority if ground else answered.scored
    expected = {
        (f"{card.name}.{value.metric}", value.family): value
        for value in values(card, answered.examples, answered.scored, majority)
    }
    there = {(row["metric"], row["family"]) for row in own}
    for metric, family in sorted(expected.keys() - there):
        findings.fault(RESULT, _label(metric, family), "", "no row", "one")
    for row in own:
        found = expected.get((row["metric"], row["family"]))
        if found is not None:
            _compare_value(row, card, found, ground is not None, findings)
        elif ground is not None or row["family"]:
            findings.fault(RESULT, label(row), "", "a row", "the task has no such value")
        else:
            _check_numbers([row], findings)
            findings.skip(NO_RECORDS, 2)  # value, n_examples


def _check_numbers(rows: Sequence[Row], findings: Findings) -> None:
    """Of values that cannot be recomputed, that they are numbers."""
    for row in rows:
        for column in ("value", "majority"):
            if row[column] is not None and not math.isfinite(row[column]):
                findings.fault(RESULT, label(row), column, row[column], "a number")


def _compare_value(
    row: Row, card: TaskCard, expected: Value, is_of_data: bool, findings: Findings
) -> None:
    name = label(row)
    findings.cell(RESULT, name, "value", row["value"], float(expected.value))
    findings.cell(RESULT, name, "n_examples", row["n_examples"], expected.n)
    findings.cell(RESULT, name, "main", row["main"], expected.metric == card.main_metric)
    if is_of_data:
        floor = None if expected.majority is None else float(expected.majority)
        findings.cell(RESULT, name, "majority", row["majority"], floor)
    else:
        findings.skip(NO_MAJORITY)


def check_strangers(rows: Sequence[Row], spec: RunSpec, findings: Findings) -> None:
    """No row is of a task that the run does not have."""
    known = {task.name for task in spec.tasks}
    for row in rows:
        if row["task"] not in known:
            findings.fault(RESULT, label(row), "task", row["task"], "not a task of the run")


def check_measured(rows: Sequence[Row], spec: RunSpec, ground: Ground, findings: Findings) -> None:
    """What was measured once is the same in all rows, or all rows of a task, and well-formed."""
    for column, is_well_formed in MEASURED.items():
        of_task = column == "evaluate_seconds"
        for task in dict.fromkeys(row["task"] for row in rows) if of_task else [""]:
            some = [row for row in rows if not of_task or row["task"] == task]
            usual = _most_frequent([row[column] for row in some])
            for row in some:
                if row[column] != usual:
                    why = "the other rows of the task" if of_task else "the other rows of the run"
                    findings.fault(RESULT, label(row), column, row[column], usual, why)
                elif not is_well_formed(row[column]):
                    findings.fault(RESULT, label(row), column, row[column], "not well-formed")
                else:
                    findings.skip(MEASURED_ONLY)
    _check_trained(rows, spec, ground, findings)


def _check_trained(rows: Sequence[Row], spec: RunSpec, ground: Ground, findings: Findings) -> None:
    """Time x throughput is the number of examples trained on: every one, once an epoch."""
    tasks = [ground.of(spec, task) for task in spec.tasks]
    counts = [len(task.prepared.train) for task in tasks if task is not None]
    if len(counts) < len(tasks):
        findings.skip("how many examples are trained on: the data are not at hand")
        return
    expected = float(sum(counts) * spec.method.train.epochs)
    for row in rows[:1]:
        seconds, rate = row["train_seconds"] or 0.0, row["examples_per_second"] or 0.0
        found = seconds * rate
        is_near = math.isclose(found, expected, rel_tol=TRAINED_NEAR)
        findings.cell(RESULT, "all rows", TRAINED, expected if is_near else found, expected)


def _most_frequent(found: Sequence[Any]) -> Any:
    """The value that most have: where one row was changed, the others outvote it."""
    return Counter(found).most_common(1)[0][0]


def _is_positive(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and value > 0


def _is_utc(value: object) -> bool:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return False
    return at.utcoffset() == UTC.utcoffset(None)


def _are_versions(value: object) -> bool:
    try:
        found = json.loads(str(value))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"python", "torch"} <= found.keys()


MEASURED: Mapping[str, Callable[[object], bool]] = {
    "attempt": _is_positive,
    "peak_memory_bytes": _is_positive,
    "train_seconds": _is_positive,
    "examples_per_second": _is_positive,
    "evaluate_seconds": _is_positive,
    "device": lambda value: bool(_DEVICE.fullmatch(str(value))),
    "code_version": lambda value: bool(_CODE.fullmatch(str(value))),
    "versions": _are_versions,
    "created_at": _is_utc,
}
"""Columns that nothing recomputes -> whether a cell of them can be true."""


def label(row: Row) -> str:
    """How a row is named: `gqa.accuracy`, `gqa.accuracy [query color]`."""
    return _label(row["metric"], row["family"], row["split"])


def _label(metric: object, family: object, split: object = "test") -> str:
    shown = f"{metric} [{family}]" if family else str(metric)
    return shown if split == "test" else f"{shown} ({split})"


def _times(rows: Sequence[Row]) -> Counter[tuple[Any, Any, Any]]:
    return Counter((row["split"], row["metric"], row["family"]) for row in rows)
