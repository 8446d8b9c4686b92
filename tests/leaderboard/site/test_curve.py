"""The training curve."""

from __future__ import annotations

import pytest

from vlbench.leaderboard.logs import Log
from vlbench.leaderboard.site.curve import BINS, make_curve


def test_a_task_is_a_line_of_few_points_that_falls_with_its_loss() -> None:
    losses = {"gqa": [(n, 100 / n) for n in range(1, 1000)], "coco": [(1, 1.0), (2, 1.0)]}
    curve = make_curve(Log(losses, {}))
    assert curve is not None
    assert [line.task for line in curve.lines] == ["coco", "gqa"]
    heights = [float(point.split(",")[1]) for point in curve.lines[1].points.split()]
    assert len(heights) <= BINS
    assert heights == sorted(heights)


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_what_a_log_axis_cannot_show_is_left_out(loss: float) -> None:
    curve = make_curve(Log({"gqa": [(1, 1.0), (2, 1.0), (3, loss)]}, {}))
    assert curve is not None
    assert len(curve.lines[0].points.split()) == 2


def test_a_single_loss_is_no_curve() -> None:
    assert make_curve(Log({"gqa": [(1, 1.0)]}, {})) is None
