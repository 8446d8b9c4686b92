"""The training curve."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.errors import DataError
from vlbench.leaderboard.site.curve import BINS, make_curve, read_log, validations


def test_a_task_is_a_line_of_few_points_that_falls_with_its_loss() -> None:
    log = [{"step": n, "task": "gqa", "loss": 100 / n} for n in range(1, 1000)]
    curve = make_curve(log + [{"step": n, "task": "coco", "loss": 1.0} for n in (1, 2)])
    assert curve is not None
    assert [line.task for line in curve.lines] == ["coco", "gqa"]
    heights = [float(point.split(",")[1]) for point in curve.lines[1].points.split()]
    assert len(heights) <= BINS
    assert heights == sorted(heights)


@pytest.mark.parametrize("loss", [0.0, -1.0, float("inf"), float("nan"), None, "1"])
def test_what_a_log_axis_cannot_show_is_left_out(loss: object) -> None:
    good = [{"step": n, "task": "gqa", "loss": 1.0} for n in (1, 2)]
    curve = make_curve([*good, {"step": 3, "task": "gqa", "loss": loss}])
    assert curve is not None
    assert len(curve.lines[0].points.split()) == 2


def test_a_single_loss_is_no_curve() -> None:
    assert make_curve([{"step": 1, "task": "gqa", "loss": 1.0}]) is None


def test_validation_is_by_epoch() -> None:
    log = [{"step": 1, "loss": 1}, {"epoch": 1, "validation": {"gqa.accuracy": 61.5, "x": None}}]
    assert validations(log) == [(1, {"gqa.accuracy": 61.5})]


def test_a_run_without_a_log_has_an_empty_one_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    assert read_log(tmp_path, "key") == []
    (tmp_path / "runs" / "key").mkdir(parents=True)
    (tmp_path / "runs" / "key" / "metrics.jsonl").write_text('{"step": 1}\n{"ste')
    with pytest.raises(DataError, match=r"metrics\.jsonl: not JSON Lines"):
        read_log(tmp_path, "key")
