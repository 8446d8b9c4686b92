"""Verify runs that are done: recompute every stored number that something is kept for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example
from vlbench.errors import DataError, MissingError, RunFailed, VlbenchError
from vlbench.leaderboard.results import read_log
from vlbench.metrics import METRICS
from vlbench.metrics.java import one_meteor
from vlbench.runs.packed import FOLDER, TABLES, packs_of
from vlbench.runs.result import REFERENCE_KEYS, Value, references, score, values
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import CURVE, NAME, RESULT, hash_of, read_sums
from vlbench.verify.inputs import Findings, Row, read_answers, read_rows, refusal
from vlbench.verify.today import (
    Here,
    Known,
    Say,
    check_adapter,
    check_size,
    check_spec,
    check_sums,
    label,
)

NOT_PREDICTED = "what the model said: only SHA256SUMS and the scores speak for it"
NOT_KEPT = "losses, rates and validation values: nothing is kept to recompute them from"
MEASURED_ONLY = "measured while the run went: the same in all rows, no more is known"
NO_MAJORITY = "the majority answer follows from the training data, which are not at hand"
NO_RECORDS = "this metric needs the official records, which are not at hand"
OF_EXAMPLES = ("family", "images", "text", "references")
MEASURED = (
    *("attempt", "peak_memory_bytes", "train_seconds", "examples_per_second"),
    *("device", "code_version", "versions", "created_at"),
)
"""Columns that nothing recomputes, with `evaluate_seconds`, which a task has of its own."""


@dataclass(frozen=True, slots=True)
class Verified:
    """One run with its findings."""

    key: str  # the folder's name
    spec: RunSpec | None
    findings: Findings

    @property
    def name(self) -> str:
        """The run in words, as far as they are known."""
        return self.spec.name if self.spec else self.key

    def as_json(self) -> dict[str, Any]:
        """An item of `vlbench verify --json`."""
        return {
            **(self.spec.facts if self.spec else {}),
            "key": self.key,
            "holds": not self.findings.faults,
            "cells_checked": self.findings.checked,
            "faults": [fault.as_json() for fault in self.findings.faults],
            "not_checked": [
                {"reason": why, "cells": n} for why, n in sorted(self.findings.unchecked.items())
            ],
        }


def verify_packs(results: Path) -> Verified | None:
    """Compare the files of the packs with their sums, and the runs of each table with the results.

    None where nothing is packed.
    """
    folder = results / FOLDER
    if not folder.is_dir():
        return None
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name[0] != ".")
    names = [name for file in files if (name := file.relative_to(folder).as_posix()) != NAME]
    findings = Findings()
    try:
        sums = read_sums(folder)
        if sums is None:
            findings.fault(NAME, "", "", "no such file", f"the sums of {len(names)} files")
        for name in names if sums is not None else []:
            stored = sums.get(name, "not listed") if sums else ""
            findings.cell(name, "", "sha256", stored, hash_of(folder / name))
        for name in sorted((sums or {}).keys() - {*names}):
            findings.fault(name, "", "sha256", (sums or {})[name], "no such file")
    except DataError as error:
        findings.unreadable(folder / NAME, NAME, error)
    for pack in packs_of(results, []):
        for table in TABLES:
            file = f"{pack.folder.name}/{table}.parquet"
            try:
                keys = {index[0] for index in pack.ranges(table)}
            except DataError as error:
                findings.unreadable(pack.file(table), file, error)
                continue
            for key in sorted(keys - pack.keys):
                findings.fault(file, key, "key", "rows of a run", "no result")
    return Verified(FOLDER, None, findings)


class Verifier:
    """Verifies runs one by one; what several of them need is made once."""

    def __init__(
        self, root: Path | None = None, say: Say = lambda _: None, is_trusting: bool = False
    ) -> None:
        self._here = Here(root, say, is_trusting)

    def verify_all(self, runs: Sequence[Traversable]) -> Iterator[Verified]:
        """Verify every run."""
        with one_meteor():
            for run in runs:
                yield self.verify(run)

    def verify(self, run: Traversable) -> Verified:
        """Verify the run in a folder; whatever stands there, others can be verified after it."""
        findings = Findings()
        spec = None
        try:
            check_sums(run, findings)
            spec = check_spec(run, findings)
            if spec is None:
                findings.skip("without its spec nothing else of the run can be checked")
            else:
                self._check(run, spec, findings)
        except RunFailed:  # Java's fault, not that of what is stored
            raise
        except Exception as error:  # files from anywhere may be anything
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            findings.fault("spec.json", reason=f"{why}: nothing more was checked")
        return Verified(run.name, spec, findings)

    def _check(self, run: Traversable, spec: RunSpec, findings: Findings) -> None:
        here, data = self._here, self._here.data(spec)
        findings.cell("spec.json", "", "data", sorted(spec.data), sorted(spec.task_names))
        model = here.model(spec, data.features)
        check_adapter(run, model, findings)
        rows = _stored_rows(run, findings)
        check_size(run, rows, model, findings)
        _check_spec_cells(rows, spec, findings)
        for card in spec.tasks:
            task, reason = data.tasks.get(card.name), data.reason
            if ":" in card.metric and not here.is_trusting:
                task, reason = None, refusal([card.metric])
            known = here.examples(task, spec.split) if task else None
            recomputed = _check_predictions(run, card, known, reason, findings)
            own = [row for row in rows if row["task"] == card.name]
            _check_values(own, spec, card, known is not None, recomputed, findings)
        _check_curve(run, spec, findings)


def _stored_rows(run: Traversable, findings: Findings) -> list[Row]:
    try:
        rows = read_rows(run / RESULT)
    except DataError as error:
        findings.unreadable(run / RESULT, RESULT, error)
        return []
    if not rows:
        findings.fault(RESULT, "", "", "no rows", "one for each value")
    return rows


def _check_spec_cells(rows: Sequence[Row], spec: RunSpec, findings: Findings) -> None:
    cells = {**spec.cells, "status": "done"}
    for row in rows:
        for column, value in cells.items():
            findings.cell(RESULT, label(row), column, row[column], value)
        fingerprint = spec.data.get(row["task"])
        findings.cell(RESULT, label(row), "data_fingerprint", row["data_fingerprint"], fingerprint)
        if row["task"] not in spec.task_names:
            findings.fault(RESULT, label(row), "task", row["task"], "not a task of the run")
    for column in MEASURED:
        stored = list(dict.fromkeys(row[column] for row in rows))
        if len(stored) > 1:
            findings.fault(RESULT, "all rows", column, stored, "one value")
    findings.skip(MEASURED_ONLY, len(rows) * (len(MEASURED) + 1))


def _check_predictions(
    run: Traversable, card: TaskCard, known: Known | None, reason: str, findings: Findings
) -> list[Value] | str:
    """Score the stored predictions and compare each score; return the values that follow, or why
    none can be recomputed.

    Where the data are not known, for the `reason`, the stored references are taken for right.
    """
    file = f"predictions/{card.name}.parquet"
    try:
        rows = read_answers(run / file)
    except DataError as error:
        findings.unreadable(run / file, file, error)
        return "its predictions cannot be read"
    findings.skip(NOT_PREDICTED, len(rows))
    by_id = {row["id"]: row for row in rows}
    times = Counter(row["id"] for row in rows)
    expected = Counter({example.id for example in known[0]} if known else by_id.keys())
    for name in sorted(expected | times):
        what = "predictions of an example of the test split"
        findings.cell(file, name, "id", times[name], expected[name], what)
    if times != expected or not rows:
        findings.cell(file, "", "", len(rows), expected.total() or "some", "predictions")
        return "its predictions are not those of the test split"
    if known:
        examples, majority = known
        for example in examples:
            cells = (example.family, list(example.images), example.text, references(example))
            for column, cell in zip(OF_EXAMPLES, cells, strict=True):
                findings.cell(file, example.id, column, by_id[example.id][column], cell)
    else:
        findings.skip(reason, len(rows) * len(OF_EXAMPLES))
        if card.metric not in METRICS:
            return reason
        examples = [_stored_example(row) for row in rows]
    try:
        scored = score(card, examples, {row["id"]: row["prediction"] for row in rows})
    except RunFailed:  # Java's fault, not that of what is stored
        raise
    except (VlbenchError, AttributeError, KeyError, TypeError) as error:
        why = str(error).strip().partition("\n")[0]
        if isinstance(error, DataError) or not isinstance(error, MissingError):
            why = "its predictions cannot be scored"  # references from anywhere may be anything
            findings.fault(file, "", "references", reason=f"{why}: {error}")
        findings.skip(why, len(rows))
        return why
    for name, row in by_id.items():
        value = scored.per_example.get(name)
        findings.cell(file, name, "score", row["score"], value if value is None else float(value))
    # without the training data only its scores' names and families are needed of the majority
    return values(card, examples, scored, majority if known else scored)


def _stored_example(row: Row) -> Example:
    record: Any = None
    with suppress(ValueError, RecursionError):
        record = json.loads(row["references"])
    annotation = dict.fromkeys(REFERENCE_KEYS, record)
    return Example(row["id"], row["text"], tuple(row["images"]), {}, annotation, row["family"])


def _check_values(
    rows: Sequence[Row],
    spec: RunSpec,
    card: TaskCard,
    is_known: bool,
    recomputed: list[Value] | str,
    findings: Findings,
) -> None:
    """Compare the values of a task, each with its majority and its number of examples."""
    times = Counter(label(row) for row in rows)
    known = [] if isinstance(recomputed, str) else recomputed
    expected = {(f"{card.name}.{value.metric}", value.family): value for value in known}
    stored = {(row["metric"], row["family"]) for row in rows}
    for metric, family in sorted(expected.keys() - stored):
        name = f"{metric} [{family}]" if family else metric
        findings.fault(RESULT, name, "", "no row", "one")
    for row in rows:
        name, value = label(row), expected.get((row["metric"], row["family"]))
        if times[name] > 1 or row["split"] != spec.split:
            expected_rows = f"one of the split {spec.split}"
            findings.fault(RESULT, name, "", f"{times[name]} rows", expected_rows)
        if value is not None:
            cells: Row = {"value": float(value.value), "n_examples": value.n}
            cells["main"] = value.metric == card.main_metric
            if is_known:
                cells["majority"] = None if value.majority is None else float(value.majority)
            else:
                findings.skip(NO_MAJORITY)
            for column, cell in cells.items():
                findings.cell(RESULT, name, column, row[column], cell)
        elif isinstance(recomputed, str):
            findings.skip(recomputed, len(("value", "majority", "n_examples", "main")))
        elif is_known or row["family"]:
            findings.fault(RESULT, name, "", "a row", "the task has no such value")
        else:
            findings.skip(NO_RECORDS, len(("value", "n_examples")))


def _check_curve(run: Traversable, spec: RunSpec, findings: Findings) -> None:
    try:
        log = read_log(run)
    except DataError as error:
        findings.unreadable(run / CURVE, CURVE, error)
        return
    if log is None:
        findings.fault(CURVE, reason="no such file")
        return
    if not spec.is_trial:
        epochs = [*range(1, spec.method.train.epochs + 1)]
        findings.cell(CURVE, "", "validations", [*log.validations], epochs)
    curves = (*log.losses.values(), *log.validations.values())
    findings.skip(NOT_KEPT, sum(map(len, curves)))
