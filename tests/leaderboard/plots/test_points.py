"""What the Pareto picture shows of a board, before anything is drawn."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.leaderboard.boards import boards_of, tied
from tests.leaderboard.builders import image_text, row
from vlbench.errors import UsageError
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.plots.points import (
    COSTS,
    FAMILIES,
    FAMILY_ORDER,
    family,
    find_costs,
    left_out,
    on_frontier,
    points,
    scored_by,
    with_metric,
)
from vlbench.techniques import TECHNIQUES

(PARAMETERS,) = find_costs("trainable_parameters")
(MEMORY,) = find_costs("peak_memory_bytes")


@pytest.fixture
def board(tmp_path: Path) -> Board:
    [board] = boards_of(
        tmp_path,
        *(
            image_text("full", 66 + seed, 58, 71, 112, seed=seed, trainable_parameters=2_000_000)
            for seed in range(3)
        ),
        image_text("adapter", 64, 56, 69, 105, trainable_parameters=90_000),
        image_text("adapter", 60, 50, 60, 90, trainable_parameters=95_000, settings="params.r=2"),
        image_text("lora", 30, 30, 30, 30, trainable_parameters=1_000),
        image_text("compacter", 64, 56, None, 105),
        image_text("bitfit", 65, 57, 70, 100, trainable_parameters=0, peak_memory_bytes=None),
        image_text("frozen", 41, 38, 51, 40, trainable_parameters=500),
    )
    return board


def test_a_point_holds_mean_cost_and_mean_average(board: Board) -> None:
    full = points(board, PARAMETERS)[0]
    assert (full.row.label, full.x, full.y) == ("full", 2_000_000, 77.0)
    assert full.score.std == pytest.approx(0.25)
    assert full.score.n == full.cost.n == 3


def test_floors_and_what_does_not_beat_them_are_not_on_the_frontier(board: Board) -> None:
    found = {each.row.label: each for each in points(board, PARAMETERS)}
    assert [label for label, each in found.items() if each.is_on_frontier] == ["full", "adapter"]
    assert found["lora"].is_below_floor
    assert not found["adapter"].is_below_floor
    assert found["frozen"].family == "floor"


def test_rows_without_a_point_are_named_with_the_reason(board: Board) -> None:
    assert left_out(board, PARAMETERS) == {
        "bitfit": "trainable parameters 0, which a log scale does not have",
        "compacter": "3/4 tasks",
    }
    assert left_out(board, MEMORY) == {
        "bitfit": "no peak memory recorded",
        "compacter": "3/4 tasks",
    }
    drawn = {each.row.label for each in points(board, MEMORY)}
    assert drawn == {row.label for row in board.rows} - {"bitfit", "compacter"}


def test_another_metric_gives_the_height(board: Board) -> None:
    found = {each.row.label: each for each in points(board, MEMORY, "nlvr2.accuracy")}
    assert found["full"].y == 71
    assert left_out(board, MEMORY, "nlvr2.accuracy")["compacter"] == "no nlvr2.accuracy"


def test_what_ties_with_the_best_is_marked(board: Board) -> None:
    groups = {"full": {"average": 1}, "adapter": {"average": 1}, "lora": {"average": 2}}
    found = {each.row.label: each.is_best for each in points(tied(board, groups), PARAMETERS)}
    assert [label for label, is_best in found.items() if is_best][:2] == ["full", "adapter"]
    assert not found["lora"]
    assert not any(each.is_best for each in points(board, PARAMETERS))


def test_the_height_of_a_single_task_is_its_metric(tmp_path: Path) -> None:
    [board] = boards_of(tmp_path, [row("full", "nlvr", 55.0, suite="nlvr")])
    assert scored_by(board) == "nlvr.accuracy"
    assert points(board, PARAMETERS)[0].y == 55.0


def test_boards_without_the_metric_are_passed_over_and_an_unknown_one_is_told(
    board: Board, tmp_path: Path
) -> None:
    [other] = boards_of(tmp_path / "other", [row("full", "nlvr", 55.0, suite="nlvr")])
    assert with_metric([board, other], "average") == [board, other]
    assert with_metric([board, other], "nlvr.accuracy") == [other]
    with pytest.raises(UsageError, match=r"Did you mean 'vqav2.accuracy'\?.* average, coco.cider"):
        with_metric([board, other], "vqa2.accuracy")


def test_every_cost_is_found_by_its_name(board: Board) -> None:
    assert find_costs("all") == COSTS
    assert all(points(board, cost) for cost in COSTS)
    with pytest.raises(UsageError, match=r"--cost bytes: .*'adapter_bytes'.* train_seconds"):
        find_costs("bytes")


def test_every_technique_has_a_family() -> None:
    assert set(FAMILIES) == set(TECHNIQUES)
    assert set(FAMILIES.values()) < set(FAMILY_ORDER)


@pytest.mark.parametrize(
    ("method", "technique", "expected"),
    [
        ("shared-adapter", "adapter", "adapters"),
        ("adapter-and-prompt", "adapter+prompt", "combined"),
        ("mine", "mypkg.mine:Mine", "other technique"),
        ("blind", "full", "floor"),
    ],
)
def test_the_family_is_that_of_the_technique(
    method: str, technique: str, expected: str, tmp_path: Path
) -> None:
    [board] = boards_of(tmp_path, image_text(method, 1, 2, 3, 4, technique=technique))
    assert family(board.rows[0]) == expected


def test_points_need_no_matplotlib_and_pictures_neither_pyplot_nor_torch() -> None:
    program = (
        "import sys\n"
        "import vlbench.leaderboard.plots.points, vlbench.leaderboard.plots.curves\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import vlbench.leaderboard.plots.pareto, vlbench.leaderboard.plots.style\n"
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("costs", "scores", "expected"),
    [
        ([], [], ""),
        ([5], [50], "x"),
        ([1, 2, 3], [10, 20, 30], "xxx"),
        ([1, 2, 3], [30, 20, 10], "x--"),
        ([3, 1, 2], [30, 20, 10], "xx-"),
        ([1, 1], [10, 20], "-x"),  # the same cost: the higher score
        ([1, 2], [20, 20], "x-"),  # the same score: the lower cost
        ([2, 1, 2, 2], [20, 10, 20, 19], "xxx-"),  # equal in both: both
        ([None, 2], [99, 20], "-x"),
        ([1, 2], [None, 20], "-x"),
        ([None], [None], "-"),
        ([0, 1], [10, 20], "xx"),
        ([1, 2], [-10, -5], "xx"),
    ],
)
def test_points_that_no_other_beats_are_on_it(costs, scores, expected: str) -> None:
    assert "".join("x" if on else "-" for on in on_frontier(costs, scores)) == expected


def test_it_is_what_the_definition_says_of_each_pair() -> None:
    lot = random.Random(1)
    for _ in range(50):
        points = [(lot.randint(1, 8), lot.randint(1, 8)) for _ in range(12)]
        beaten = [
            any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
            for cost, score in points
        ]
        found = on_frontier(*map(list, zip(*points, strict=True)))
        assert found == [not is_beaten for is_beaten in beaten]
