"""`metrics.jsonl`: everything of a training curve that follows from the spec and the data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from vlbench.errors import DataError
from vlbench.running.callbacks import CURVE_STEPS
from vlbench.running.spec import RunSpec
from vlbench.training.optimiser import linear_schedule
from vlbench.training.order import task_order
from vlbench.verifying.findings import Findings, are_equal
from vlbench.verifying.ground import Ground
from vlbench.verifying.stored import Row, read_lines

FILE = "metrics.jsonl"
MOST_POINTS = 100_000
"""So many points may be lacking for each to be named."""
NOT_KEPT = "losses and validation values: nothing is kept to recompute them from"


def check_curve(run: Path, spec: RunSpec, ground: Ground, findings: Findings) -> None:
    """Each point is where it belongs, with its task and rate; each epoch has its validation."""
    try:
        lines = read_lines(run / FILE)
    except DataError as error:
        findings.fault(FILE, "", "", "", "", str(error))
        return
    batches = _batches(spec, ground)
    epochs = spec.method.train.epochs
    total = sum(batches.values()) * epochs if batches else _last_step(lines)
    if (points := total // CURVE_STEPS + epochs) > MOST_POINTS + 2 * len(lines):
        findings.fault(FILE, "", "", f"{len(lines):,} lines", f"{points:,} or more")
        return  # a spec may name any number
    if not batches:
        findings.skip("the order of tasks follows from the data, which are not at hand")
    expected = _expected(spec, batches, total)
    _of_next_step(spec, expected, total, lines)
    found = Counter(_label(line) for line in lines)
    for label in sorted(expected.keys() | found.keys()):
        if found[label] != 1 or label not in expected:
            wanted = "one line" if label in expected else "no such line"
            findings.fault(FILE, label, "", f"{found[label]} lines", wanted)
    for line in lines:
        label = _label(line)
        if label in expected:
            _check_line(label, line, expected[label], findings)


def _check_line(label: str, line: Row, expected: Row, findings: Findings) -> None:
    """What can be known of a line; of a loss and a validation, that they are numbers."""
    for column, value in expected.items():
        if column != "validation":
            findings.cell(FILE, label, column, line.get(column), value)
            continue
        given = line.get(column)
        given = given if isinstance(given, dict) else {}
        findings.cell(FILE, label, column, sorted(given), sorted(value))
        _check_numbers(label, given, findings)
    if "step" in expected:
        _check_numbers(label, {"loss": line.get("loss")}, findings)
    for extra in sorted(line.keys() - expected.keys() - {"loss", "task"}):
        findings.fault(FILE, label, extra, line[extra], "no such key")


def _check_numbers(label: str, numbers: Row, findings: Findings) -> None:
    for name, value in numbers.items():
        if type(value) in (float, int) and math.isfinite(value):
            findings.skip(NOT_KEPT)
        else:
            findings.fault(FILE, label, name, value, "a number")


def _expected(spec: RunSpec, batches: dict[str, int], total: int) -> dict[str, Row]:
    """Every line that a run writes, without its losses."""
    train = spec.method.train
    share = _share(total, train.warmup_ratio)
    per_epoch = total // train.epochs
    orders = [task_order(batches, epoch) for epoch in range(train.epochs)] if batches else []
    lines: dict[str, Row] = {}
    for number in range(1, total + 1):
        if number % CURVE_STEPS and number != total:
            continue
        epoch, place = divmod(number - 1, per_epoch)
        line: Row = {"step": number, "epoch": epoch + 1}
        line["learning_rate"] = train.learning_rate * share(number - 1)
        if orders:
            line["task"] = orders[epoch][place]
        lines[f"step {number}"] = line
    metrics = [f"{task.name}.{task.main_metric}" for task in spec.tasks]
    for epoch in range(1, train.epochs + 1):
        lines[f"validation {epoch}"] = {"epoch": epoch, "validation": metrics}
    return lines


def _of_next_step(spec: RunSpec, expected: dict[str, Row], total: int, lines: list[Row]) -> None:
    """The earliest vlbench noted with each step the rate of the next one: expect that of them."""
    train = spec.method.train
    share = _share(total, train.warmup_ratio)
    first = next((line for line in lines if isinstance(line.get("step"), int)), {"step": 0})
    number = first["step"]
    then, now = (train.learning_rate * share(step) for step in (number, number - 1))
    if are_equal(first.get("learning_rate"), then) and not are_equal(then, now):
        for line in expected.values():
            if "step" in line:
                line["learning_rate"] = train.learning_rate * share(line["step"])


def _share(total: int, warmup_ratio: float) -> Callable[[int], float]:
    """The share of the rate after so many steps, by the schedule that trains."""
    nothing = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    share: Callable[[int], float] = linear_schedule(nothing, total, warmup_ratio).lr_lambdas[0]
    return share


def _batches(spec: RunSpec, ground: Ground) -> dict[str, int]:
    """Task -> batches of an epoch; empty where a task's data are not at hand."""
    found = {task.name: ground.of(spec, task) for task in spec.tasks}
    return {
        name: task.batches(spec.method.train)
        for name, task in found.items()
        if task is not None and None not in found.values()
    }


def _last_step(lines: list[Row]) -> int:
    steps = [line["step"] for line in lines if isinstance(line.get("step"), int)]
    return max(steps, default=0)


def _label(line: Row) -> str:
    """What a line is of: `step 10`, `validation 1`."""
    if "validation" in line:
        return f"validation {line.get('epoch')}"
    return f"step {line.get('step')}"
