"""The result, the predictions and the training curve of a run: every cell, recomputed."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example
from vlbench.errors import DataError, MissingError, RunFailed, VlbenchError
from vlbench.metrics import METRICS, Scored
from vlbench.runs.callbacks import CURVE_STEPS
from vlbench.runs.folder import RunFolder
from vlbench.runs.result import Value, references, score, values
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import RESULT
from vlbench.training.train import task_order
from vlbench.verify.findings import Findings
from vlbench.verify.inputs import (
    Reference,
    Row,
    TaskReference,
    read_answers,
    read_lines,
    read_rows,
    refusal,
)

CURVE = "metrics.jsonl"
MOST_POINTS = 100_000
"""Missing points of a curve that are named one by one."""
NOT_PREDICTED = "what the model said: only SHA256SUMS and the scores speak for it"
NOT_KEPT = "losses, rates and validation values: nothing is kept to recompute them from"
MEASURED_ONLY = (
    "measured while the run went: well-formed and the same in all rows, no more is known"
)
NO_MAJORITY = "the majority answer follows from the training data, which are not at hand"
NO_RECORDS = "this metric needs the official records, which are not at hand"
RECORDS = {
    "accuracy": "label",
    "captions": "captions",
    "gqa": "answer",
    "nlvr2": "label",
    "value-captions": "captions",
    "vqa": "answers",
    "vqa-2021": "answers",
}
"""Metric -> the key of an official record that `references` keeps."""
OF_EXAMPLES = ("family", "images", "text", "references")
CLOCK_ERROR = timedelta(days=1)
"""Clocks jump, by hours where somebody sets them."""
_CODE = re.compile(r"\d+\.\d+[\w.+-]*( [0-9a-f]{7,40}(\+dirty)?)?")
_DEVICE = re.compile(r"(\d+ x )?(cpu|cuda): \S.*")


class Answered(NamedTuple):
    """A task's examples with the official scores of the stored predictions."""

    examples: Sequence[Example]
    scored: Scored


def stored_rows(run: Path, findings: Findings) -> list[Row]:
    """The rows of the run's result; none where it cannot be read."""
    try:
        rows, unknown = read_rows(run / RESULT)
    except DataError as error:
        findings.fault(RESULT, "", "", "", "", str(error))
        return []
    if not rows:
        findings.fault(RESULT, "", "", "no rows", "one for each value")
    for column in unknown:
        findings.skip(f"column '{column}' is not one of this vlbench", len(rows))
    return rows


def check_spec_cells(rows: Sequence[Row], spec: RunSpec, findings: Findings) -> None:
    """Compare every cell that repeats the spec."""
    cells = {**spec.cells, "status": "done"}
    known = {task.name for task in spec.tasks}
    for row in rows:
        for column, value in cells.items():
            findings.cell(RESULT, label(row), column, row[column], value)
        fingerprint = spec.data.get(row["task"])
        findings.cell(RESULT, label(row), "data_fingerprint", row["data_fingerprint"], fingerprint)
        if device := _DEVICE.fullmatch(str(row["device"])):
            findings.cell(RESULT, label(row), "device", device[2], spec.device, "as spec.json says")
        if row["task"] not in known:
            findings.fault(RESULT, label(row), "task", row["task"], "not a task of the run")


def check_predictions(
    run: Path,
    card: TaskCard,
    data: TaskReference | None,
    reason: str,
    is_trusting: bool,
    findings: Findings,
) -> Answered | str:
    """Score the stored predictions, compare each score; or why the metric cannot be recomputed.

    Without data, for the `reason`, the stored references are taken for right.
    """
    file = f"predictions/{card.name}.parquet"
    try:
        rows = read_answers(run / file)
    except DataError as error:
        findings.fault(file, "", "", "", "", str(error))
        return "its predictions cannot be read"
    findings.skip(NOT_PREDICTED, len(rows))
    why = ""
    if not _are_complete(file, rows, data, findings):
        why = "its predictions are not those of the test split"
    elif ":" in card.metric and not is_trusting:
        why = refusal([card.metric])
    elif data is None and card.metric not in METRICS:
        why = reason
    if why:
        findings.skip(why, len(rows) * (len(OF_EXAMPLES) + 1))
        return why
    examples: Sequence[Example]
    if data is None:
        findings.skip(reason, len(rows) * len(OF_EXAMPLES))
        examples = [_stored_example(row, RECORDS[card.metric]) for row in rows]
    else:
        examples = data.test
        by_id = {row["id"]: row for row in rows}
        for example in examples:
            text = references(example)
            cells = (example.family, list(example.images), example.text, text)
            for column, cell in zip(OF_EXAMPLES, cells, strict=True):
                findings.cell(file, example.id, column, by_id[example.id][column], cell)
    scored = _score(file, card, rows, examples, findings)
    if isinstance(scored, str):
        findings.skip(scored, len(rows))
        return scored
    for row in rows:
        value = scored.per_example.get(row["id"])
        recomputed = None if value is None else float(value)
        findings.cell(file, row["id"], "score", row["score"], recomputed)
    return Answered(examples, scored)


def _are_complete(
    file: str, rows: Sequence[Row], data: TaskReference | None, findings: Findings
) -> bool:
    """Whether each example of the test split has one prediction, and nothing else has one."""
    before = len(findings.faults)
    times = Counter(row["id"] for row in rows)
    wanted = {example.id for example in data.test} if data else set(times)
    for name in sorted(wanted | times.keys()):
        if times[name] > 1:
            findings.fault(file, name, "id", f"{times[name]} predictions", "one")
        elif name not in times:
            findings.fault(file, name, "id", "no prediction", "one")
        elif name not in wanted:
            findings.fault(file, name, "id", "a prediction", "no such example in the test split")
        else:
            findings.checked += 1
    if not times:
        findings.fault(file, "", "", "no predictions", "those of the test split")
    return len(findings.faults) == before


def _stored_example(row: Row, key: str) -> Example:
    """An example as far as its prediction tells it."""
    try:
        record: Any = json.loads(row["references"])
    except (ValueError, RecursionError):
        record = None
    return Example(
        id=row["id"],
        text=row["text"],
        images=tuple(row["images"]),
        targets={},
        annotation={key: record},
        family=row["family"],
    )


def _score(
    file: str,
    card: TaskCard,
    rows: Sequence[Row],
    examples: Sequence[Example],
    findings: Findings,
) -> Scored | str:
    """The official scores, or why there are none."""
    try:
        return score(card, examples, {row["id"]: row["prediction"] for row in rows})
    except RunFailed:  # Java's fault, not that of what is stored
        raise
    except (VlbenchError, AttributeError, KeyError, TypeError) as error:
        if isinstance(error, MissingError) and not isinstance(error, DataError):
            return str(error).strip().splitlines()[0]
        why = str(error) if isinstance(error, DataError) else f"cannot be scored: {error}"
        findings.fault(file, "", "references", "", "", why)  # tampered ones may be anything
        return "its predictions cannot be scored"


def check_values(
    rows: Sequence[Row],
    card: TaskCard,
    data: TaskReference | None,
    answered: Answered | str,
    findings: Findings,
) -> None:
    """Compare the values of a task, each with its majority and its number of examples."""
    own = [row for row in rows if row["task"] == card.name]
    times = Counter((row["split"], row["metric"], row["family"]) for row in own)
    for (split, metric, family), count in times.items():
        if count > 1 or split != "test":
            stored = f"{count} rows" if count > 1 else "a row"
            wanted = "one" if split == "test" else "runs keep rows of the split test only"
            findings.fault(RESULT, _label(metric, family, split), "", stored, wanted)
    if isinstance(answered, str):
        _check_numbers(own, findings)
        findings.skip(answered, len(own) * len(("value", "majority", "n_examples", "main")))
        return
    majority = data.majority if data else answered.scored
    expected = {
        (f"{card.name}.{value.metric}", value.family): value
        for value in values(card, answered.examples, answered.scored, majority)
    }
    for metric, family in sorted(expected.keys() - {(row["metric"], row["family"]) for row in own}):
        findings.fault(RESULT, _label(metric, family), "", "no row", "one")
    for row in own:
        value = expected.get((row["metric"], row["family"]))
        if value is not None:
            _compare_value(row, card, value, data is not None, findings)
        elif data is not None or row["family"]:
            findings.fault(RESULT, label(row), "", "a row", "the task has no such value")
        else:
            _check_numbers([row], findings)
            findings.skip(NO_RECORDS, len(("value", "n_examples")))


def _check_numbers(rows: Sequence[Row], findings: Findings) -> None:
    """Check that values that cannot be recomputed are numbers."""
    for row in rows:
        for column in ("value", "majority"):
            if row[column] is not None and not math.isfinite(row[column]):
                findings.fault(RESULT, label(row), column, row[column], "a number")


def _compare_value(
    row: Row, card: TaskCard, expected: Value, has_data: bool, findings: Findings
) -> None:
    name = label(row)
    findings.cell(RESULT, name, "value", row["value"], float(expected.value))
    findings.cell(RESULT, name, "n_examples", row["n_examples"], expected.n)
    findings.cell(RESULT, name, "main", row["main"], expected.metric == card.main_metric)
    if has_data:
        majority = None if expected.majority is None else float(expected.majority)
        findings.cell(RESULT, name, "majority", row["majority"], majority)
    else:
        findings.skip(NO_MAJORITY)


def _is_positive(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and value > 0


def _time(text: object) -> datetime | None:
    """The time with its zone that a text is, if it is one."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else None


def _is_utc(value: object) -> bool:
    time = _time(value)
    return time is not None and time.utcoffset() == UTC.utcoffset(None)


def _are_versions(value: object) -> bool:
    try:
        versions = json.loads(str(value))
    except (ValueError, RecursionError):
        return False
    return isinstance(versions, dict) and {"python", "torch"} <= versions.keys()


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


def check_measured(rows: Sequence[Row], spec: RunSpec, data: Reference, findings: Findings) -> None:
    """Check that measurements are the same in all rows, or all of a task, and well-formed."""
    for column, is_well_formed in MEASURED.items():
        of_task = column == "evaluate_seconds"
        for task in dict.fromkeys(row["task"] for row in rows) if of_task else [""]:
            some = [row for row in rows if not of_task or row["task"] == task]
            usual = Counter(row[column] for row in some).most_common(1)[0][0]
            for row in some:
                if row[column] != usual:
                    why = f"the other rows of the {'task' if of_task else 'run'}"
                    findings.fault(RESULT, label(row), column, row[column], usual, why)
                elif not is_well_formed(row[column]):
                    findings.fault(RESULT, label(row), column, row[column], "not well-formed")
                else:
                    findings.skip(MEASURED_ONLY)
    # time x throughput is the number of examples trained on: every one, once an epoch
    tasks = [data.of(spec, task) for task in spec.tasks]
    counts = [len(task.prepared.train) for task in tasks if task is not None]
    if len(counts) < len(tasks):
        findings.skip("how many examples are trained on: the data are not at hand")
        return
    expected = float(sum(counts) * spec.method.train.epochs)
    product = (rows[0]["train_seconds"] or 0.0) * (rows[0]["examples_per_second"] or 0.0)
    is_near = math.isclose(product, expected, rel_tol=1e-6)
    column = "train_seconds x examples_per_second"
    findings.cell(RESULT, "all rows", column, expected if is_near else product, expected)


def check_history(run: Path, rows: Sequence[Row], findings: Findings) -> None:
    """Compare the attempt and the times of rows with `status.json` and `attempts.jsonl`.

    No sums are of these files: they speak against a cell, and never for one.
    """
    folder = RunFolder(run)
    status, record = folder.status(), folder.record()
    for file, fault in folder.faults().items():
        findings.fault(file.name, "", "", "", "", str(fault))
    if status.get("status") != "done":
        return
    begun = [line for line in record if line.get("event") == "began"]
    first = _time(begun[0].get("at")) if begun else None
    attempt, last = status.get("attempt"), _time(status.get("updated_at"))
    for row in rows:
        name, created = label(row), _time(row["created_at"])
        if isinstance(attempt, int):
            why = "status.json says so"
            findings.cell(RESULT, name, "attempt", row["attempt"], attempt, why)
        if created and first and created < first - CLOCK_ERROR:
            why = "before the run began, as attempts.jsonl says"
            findings.fault(RESULT, name, "created_at", str(created), f"from {first}", why)
        if created and last and created > last + CLOCK_ERROR:
            why = "after the run was done, as status.json says"
            findings.fault(RESULT, name, "created_at", str(created), f"until {last}", why)


def check_curve(run: Path, spec: RunSpec, data: Reference, findings: Findings) -> None:
    """Check that a curve has every point, each with its epoch and task, and only numbers."""
    try:
        lines = read_lines(run / CURVE)
    except DataError as error:
        findings.fault(CURVE, "", "", "", "", str(error))
        return
    tasks = {task.name: data.of(spec, task) for task in spec.tasks}
    train = spec.method.train
    batches = {name: task.batches(train) for name, task in tasks.items() if task is not None}
    if len(batches) < len(tasks):
        findings.skip("the order of tasks follows from the data, which are not at hand")
        batches = {}
    steps = [line["step"] for line in lines if isinstance(line.get("step"), int)]
    total = sum(batches.values()) * train.epochs if batches else max(steps, default=0)
    if (points := total // CURVE_STEPS + train.epochs) > MOST_POINTS + 2 * len(lines):
        findings.fault(CURVE, "", "", f"{len(lines):,} lines", f"{points:,} or more")
        return  # a spec may name any number
    expected = _expected_points(spec, batches, total)
    counts = Counter(_point(line) for line in lines)
    for name in sorted(expected.keys() | counts.keys()):
        if counts[name] != 1 or name not in expected:
            wanted = "one line" if name in expected else "no such line"
            findings.fault(CURVE, name, "", f"{counts[name]} lines", wanted)
    for line in lines:
        if (name := _point(line)) in expected:
            _check_point(name, line, expected[name], findings)


def _expected_points(spec: RunSpec, batches: dict[str, int], total: int) -> dict[str, Row]:
    """Every line that a run writes, without its measured numbers."""
    epochs = spec.method.train.epochs
    per_epoch = max(total // epochs, 1)
    orders = [task_order(batches, epoch) for epoch in range(epochs)] if batches else []
    metrics = [f"{task.name}.{task.main_metric}" for task in spec.tasks]
    points: dict[str, Row] = {}
    for number in range(1, total + 1):
        if number % CURVE_STEPS == 0 or number == total:
            epoch, position = divmod(number - 1, per_epoch)
            task = {"task": orders[epoch][position]} if orders else {}
            points[f"step {number}"] = {"step": number, "epoch": epoch + 1, **task}
    for epoch in range(1, epochs + 1):
        points[f"validation {epoch}"] = {"epoch": epoch, "validation": sorted(metrics)}
    return points


def _check_point(name: str, line: Row, expected: Row, findings: Findings) -> None:
    measured = {"loss", "learning_rate"} if "step" in expected else set()
    numbers: Row = {column: line.get(column) for column in sorted(measured)}
    for column, value in expected.items():
        stored = line.get(column)
        if column == "validation":
            numbers = stored if isinstance(stored, dict) else {}
            stored = sorted(numbers)
        findings.cell(CURVE, name, column, stored, value)
    for column, value in numbers.items():
        if type(value) in (float, int) and math.isfinite(value):
            findings.skip(NOT_KEPT)
        else:
            findings.fault(CURVE, name, column, value, "a number")
    for extra in sorted(line.keys() - expected.keys() - measured - {"task"}):
        findings.fault(CURVE, name, extra, line[extra], "no such key")


def _point(line: Row) -> str:
    """Name of a line: `step 10`, `validation 1`."""
    if "validation" in line:
        return f"validation {line.get('epoch')}"
    return f"step {line.get('step')}"


def label(row: Row) -> str:
    """Name of a row: `gqa.accuracy`, `gqa.accuracy [query color]`."""
    return _label(row["metric"], row["family"], row["split"])


def _label(metric: object, family: object, split: object = "test") -> str:
    name = f"{metric} [{family}]" if family else str(metric)
    return name if split == "test" else f"{name} ({split})"
