"""The lines of a picture of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.leaderboard.boards import METRICS, boards_of
from tests.leaderboard.builders import image_text
from tests.leaderboard.plots.log_builders import trained, validation, write_log
from vlbench.leaderboard.logs import Log
from vlbench.leaderboard.plots.curves import read_logs
from vlbench.leaderboard.plots.lines import BINS, loss_lines, validation_lines
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.summary import Board, summarise


def board_and_losses(tmp_path: Path, *seeds: list[tuple[int, float]]) -> tuple[Board, dict]:
    [board] = boards_of(
        tmp_path, *(image_text("full", 1, 2, 3, 4, seed=seed) for seed in range(len(seeds)))
    )
    return board, {"full": {n: Log({"gqa": points}, {}) for n, points in enumerate(seeds)}}


def test_a_line_is_the_mean_of_the_seeds_with_the_lowest_and_the_highest(tmp_path: Path) -> None:
    one = [(10, 4.0), (20, 6.0), (30, 2.0), (40, 3.0)]
    two = [(10, 8.0), (20, 8.0), (30, 4.0), (40, 5.0)]
    [lines] = loss_lines(*board_and_losses(tmp_path, one, two))
    [line] = lines.lines
    assert lines.name == "gqa"
    assert line.n == 2
    # two stretches of 20 steps; step 20 belongs to the second
    assert line.x == [10, 30]
    assert line.mean == [pytest.approx((4 + 8) / 2), pytest.approx((3 + 5) / 2)]
    assert (line.low, line.high) == ([4.0, 3.0], [8.0, 5.0])


def test_a_stretch_without_a_loss_of_each_seed_has_no_point(tmp_path: Path) -> None:
    one = [(n, 1.0) for n in range(10, 90, 10)]
    two = [(n, 3.0) for n in (10, 15, 20, 25, 30, 35, 36, 80)]
    [lines] = loss_lines(*board_and_losses(tmp_path, one, two))
    assert lines.lines[0].x == [10, 30, 70]  # of 10, 30, 50, 70
    assert set(lines.lines[0].mean) == {2.0}


def test_a_long_run_has_no_more_points_than_can_be_seen(tmp_path: Path) -> None:
    points = [(10 * n, 1.0) for n in range(1, 10_000)]
    [lines] = loss_lines(*board_and_losses(tmp_path, points))
    assert len(lines.lines[0].x) == BINS


def test_validation_has_the_average_first_then_each_task(tmp_path: Path) -> None:
    trained(tmp_path, "full", 2)
    [board] = summarise(read_results(tmp_path))
    logs = read_logs(board, tmp_path)
    found = validation_lines(board, logs)
    assert {each.name for each in found} == {"average", *METRICS}
    assert found[0].name == "average"
    [line] = found[0].lines
    assert line.x == [1, 2, 3]
    assert line.low[0] == (20 + 10 + 50 + 30) / 4
    assert line.high[0] == (20 + 10 + 50 + 31) / 4


def test_an_average_needs_all_tasks(tmp_path: Path) -> None:
    run = image_text("full", 1, 2, 3, 4)
    [board] = boards_of(tmp_path, run)
    write_log(tmp_path, run[0]["key"], validation(1, 60, 50))
    found = validation_lines(board, read_logs(board, tmp_path))
    assert [each.name for each in found] == ["vqav2.accuracy", "gqa.accuracy"]
