"""Training curves as runs note them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.leaderboard.log_builders import loss, validation, write_log
from vlbench.errors import DataError
from vlbench.leaderboard.logs import read_log


def test_losses_are_read_by_task_and_validations_by_epoch(tmp_path: Path) -> None:
    write_log(
        tmp_path,
        "a",
        loss(10, "gqa", 3.0),
        loss(20, "coco", 2.5),
        validation(1, 60, 50, 50, 90),
        loss(30, "gqa", 2.0, epoch=2),
    )
    log = read_log(tmp_path, "a")
    assert log is not None
    assert log.losses == {"gqa": [(10, 3.0), (30, 2.0)], "coco": [(20, 2.5)]}
    assert log.validations[1]["coco.cider"] == 90
    assert log.last_step == 30


def test_losses_that_are_no_numbers_are_passed_over(tmp_path: Path) -> None:
    write_log(tmp_path, "a", loss(10, "gqa", float("nan")), loss(20, "gqa", float("inf")))
    log = read_log(tmp_path, "a")
    assert log is not None
    assert (log.losses, log.last_step) == ({}, 0)


def test_a_metric_that_could_not_be_measured_is_left_out(tmp_path: Path) -> None:
    file = write_log(tmp_path, "a", loss(10, "gqa", 3.0))
    line = {"epoch": 1, "validation": {"gqa.accuracy": 61.5, "coco.meteor": None}}
    file.write_text(file.read_text() + json.dumps(line) + "\n")
    log = read_log(tmp_path, "a")
    assert log is not None
    assert log.validations == {1: {"gqa.accuracy": 61.5}}


def test_a_run_without_a_curve_has_none(tmp_path: Path) -> None:
    assert read_log(tmp_path, "a") is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 20, "lo', "metrics.jsonl: line 2: Not JSON: "),
        ("[1]", "metrics.jsonl: line 2: Neither a loss by step nor a validation."),
        ('{"step": 20}', "line 2: Neither"),
        ('{"step": 20, "task": "gqa", "loss": "1"}', "line 2: Neither"),
        ('{"step": 20, "task": "gqa", "loss": null}', "line 2: Neither"),
        ('{"epoch": 1, "validation": 3}', "line 2: Neither"),
    ],
)
def test_a_damaged_line_is_told_with_its_place(line: str, message: str, tmp_path: Path) -> None:
    file = write_log(tmp_path, "a", loss(10, "gqa", 3.0))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(DataError) as caught:
        read_log(tmp_path, "a")
    assert message in str(caught.value)
