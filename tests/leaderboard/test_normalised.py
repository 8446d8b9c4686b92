"""The normalised score, what it leaves out, who wins, and the verdicts that need a margin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text
from tests.leaderboard.scored import N, write_image_text
from vlbench.leaderboard import statistics
from vlbench.leaderboard.board import Board, Row
from vlbench.leaderboard.compare import both_sides
from vlbench.leaderboard.compare_formats import compare_tables
from vlbench.leaderboard.load import Filters
from vlbench.leaderboard.statistics import RowScores, Scale, Test, verdict
from vlbench.leaderboard.tables import main_table

RNG = np.random.default_rng


def rows_of(board: Board) -> dict[str, Row]:
    return {row.method: row for row in board.rows}


def measured(folder: Path, *others: list) -> Board:
    full = [image_text("full", 80 + 2 * s, 60, 70, 300, seed=s, majority=30.0) for s in range(2)]
    blind = image_text("blind", 41, 20, 55, 40, majority=30.0)
    [board] = boards_of(folder, *full, blind, *others)
    return board


def test_zero_is_the_highest_floor_and_one_hundred_full_fine_tuning(tmp_path: Path) -> None:
    board = measured(tmp_path, image_text("lora", 61, 45, 62.5, 235))
    rows = rows_of(board)
    lora = [(61 - 41) / 40, (45 - 30) / 30, (62.5 - 55) / 15, (235 - 40) / 260]
    assert rows["lora"].normalised.mean == pytest.approx(25 * sum(lora))
    assert rows["full"].normalised.mean == pytest.approx(100)
    deviation = 25 * np.std([0, 2 / 40], ddof=1)
    assert rows["full"].normalised.std == pytest.approx(deviation)
    assert board.ranking == "normalised" and board.ruler is not None
    assert board.ruler.floors["nlvr2.accuracy"] == 55


def test_rows_are_sorted_by_it_and_not_by_what_captions_outweigh(tmp_path: Path) -> None:
    captions = image_text("lora", 45, 32, 56, 299)
    answers = image_text("adapter", 79, 59, 69, 200)
    board = measured(tmp_path, captions, answers)
    assert [row.method for row in board.rows] == ["full", "adapter", "lora", "blind"]
    assert rows_of(board)["lora"].average.mean > rows_of(board)["adapter"].average.mean


@pytest.mark.parametrize(
    ("values", "metric", "why"),
    [
        ((97, 60, 70, 300), "vqav2.accuracy", "97.0 of 100"),
        ((80, 60, 70, 960), "coco.cider", "960.0 of 1,000"),
        ((80, 60, 52, 300), "nlvr2.accuracy", "52.0, +2.0 from the floor"),
        ((80, 20, 70, 300), "gqa.accuracy", "20.0, -10.0 from the floor"),
    ],
)
def test_a_saturated_task_is_named_and_left_out(
    tmp_path: Path, values: tuple[float, ...], metric: str, why: str
) -> None:
    floor = image_text("frozen", 30, 30, 50, 20)
    [board] = boards_of(tmp_path, image_text("full", *values), floor, image_text("lora", *[35] * 4))
    assert board.ruler is not None and set(board.ruler.saturated) == {metric}
    assert metric not in board.ruler.floors and len(board.ruler.floors) == 3
    table = main_table(board)
    task = metric.partition(".")[0]
    assert [c.unit for c in table.columns if c.name == "normalised"] == ["3 of 4 tasks"]
    expected = f"not in the normalised score: {task}, as full fine-tuning has {why}."
    assert any(expected in note for note in table.notes)
    alone = main_table(replace(board, mains={"gqa": "gqa.accuracy"}))  # the site's page of a task
    assert [column.name for column in alone.columns] == ["method", "trainable", "gqa", "seeds"]
    assert not any("ormalised" in note for note in alone.notes)


def test_without_full_fine_tuning_or_a_floor_there_is_no_such_column(tmp_path: Path) -> None:
    lora = image_text("lora", 61, 45, 62.5, 235)
    [no_full] = boards_of(tmp_path / "1", lora, image_text("frozen", 30, 30, 50, 20))
    [no_floor] = boards_of(tmp_path / "2", lora, image_text("full", 80, 60, 70, 300))
    overrides = image_text("full", 80, 60, 70, 300, settings="train.epochs=3")
    [other_full] = boards_of(tmp_path / "3", overrides, image_text("frozen", 30, 30, 50, 20))
    for board in (no_full, no_floor, other_full):
        assert board.ranking == "average"
        assert all(row.normalised.n == 0 for row in board.rows)
    every = image_text("full", 99, 99, 99, 999), image_text("frozen", 30, 30, 50, 20)
    [saturated] = boards_of(tmp_path / "4", *every)
    assert saturated.ranking == "average"
    assert sum("Saturated" in note for note in main_table(saturated).notes) == 4


def test_ranks_and_wins_are_over_tasks_among_methods_that_have_all(tmp_path: Path) -> None:
    lora, adapter = image_text("lora", 61, 45, 62, 235), image_text("adapter", 61, 50, 60, 240)
    part = image_text("compacter", 99, 99, 99, None)
    rows = rows_of(measured(tmp_path, lora, adapter, part))
    assert (rows["full"].mean_rank, rows["full"].win_rate) == (1, 100)
    assert rows["lora"].mean_rank == pytest.approx((2.5 + 3 + 2 + 3) / 4)
    assert rows["adapter"].mean_rank == pytest.approx((2.5 + 2 + 3 + 2) / 4)
    assert rows["lora"].win_rate == pytest.approx(100 * (0.5 + 0 + 1 + 0) / 8)
    assert rows["compacter"].mean_rank is None is rows["blind"].mean_rank


def scores(seed: int, k: int, shift: float, scatter: float, n: int = 300) -> list[np.ndarray]:
    rng = RNG(seed)
    tasks = RNG(99).normal(0.5, 0.2, (2, n))
    return [
        task + shift + rng.normal(0, scatter, (k, 1)) + rng.normal(0, 0.3, (k, n)) for task in tasks
    ]


@pytest.mark.parametrize("pair", [("a", "b"), ("a", "full"), ("full", "a")])
def test_the_error_of_a_normalised_difference_is_that_of_its_linear_part(
    pair: tuple[str, str],
) -> None:
    """Of all rows that it is computed from: weights by numerical derivatives."""
    drawn = {
        "a": scores(1, 3, 0.1, 0.03),
        "b": scores(2, 5, 0.0, 0.02),
        "full": scores(3, 4, 0.3, 0.05),
    }
    rows = {name: RowScores.of(tasks) for name, tasks in drawn.items()}
    floors = np.array([0.3, 0.2])

    def difference(means: dict[str, np.ndarray]) -> float:
        spans = means["full"] - floors
        return float(((means[pair[0]] - means[pair[1]]) / spans).mean())

    means = {name: row.means for name, row in rows.items()}
    seeds, rest = 0.0, 0.0
    linear = [np.zeros(300), np.zeros(300)]
    for name, tasks in drawn.items():
        weights = np.zeros(2)
        for task in range(2):
            step = np.eye(2)[task] * 1e-6
            higher, lower = means | {name: means[name] + step}, means | {name: means[name] - step}
            weights[task] = (difference(higher) - difference(lower)) / 2e-6
            linear[task] += weights[task] * tasks[task].mean(0)
        own = sum(w * task.mean(1) for w, task in zip(weights, tasks, strict=True))
        seeds += own.var(ddof=1) / len(own)
        rest += float(np.square(weights) @ rows[name].rest)
    examples = sum(part.var(ddof=1) / 300 for part in linear)
    test = statistics.test_difference(rows[pair[0]], rows[pair[1]], Scale(rows["full"], floors))
    assert test.difference == pytest.approx(100 * difference(means))
    assert test.standard_error == pytest.approx(
        100 * np.sqrt(max(0, examples - rest) + seeds), rel=1e-5
    )
    p = statistics.p_values(rows[pair[0]], [rows["b"], rows[pair[1]]], Scale(rows["full"], floors))
    assert p[1] == pytest.approx(test.p)


@pytest.mark.parametrize(
    ("difference", "error", "p_holm", "margin", "expected"),
    [
        (8.0, 1.0, 0.001, None, "better"),
        (-8.0, 1.0, 0.001, 5.0, "worse"),
        (1.0, 1.0, 0.3, 5.0, "matches"),
        (2.0, 0.5, 0.001, 5.0, "matches"),
        (2.0, 3.0, 0.3, 5.0, "not worse"),
        (-2.0, 3.0, 0.3, 5.0, "undecided"),
        (1.0, 1.0, 0.3, None, "undecided"),
    ],
)
def test_a_verdict_is_of_the_interval_and_the_margin(
    difference: float, error: float, p_holm: float, margin: float | None, expected: str
) -> None:
    test = Test(difference, error, 10.0, p_holm, 100, (5, 5))
    assert verdict(test, p_holm, margin) == expected


def test_a_comparison_has_the_normalised_score_and_margins_in_each_tasks_points(
    tmp_path: Path,
) -> None:
    for seed in range(3):
        write_image_text(tmp_path, "full", 50, 40 + seed, 40, 45, seed=seed)
        write_image_text(tmp_path, "lora", 50, 40 + seed, 40, 44, seed=seed)
        write_image_text(tmp_path, "frozen", 20, 10, 39, 15, seed=seed)
    [pair] = both_sides("lora", "full", tmp_path, None, Filters(), margin=20)
    items = {item["task"]: item for item in pair.items}
    assert list(items) == ["vqav2", "gqa", "nlvr2", "coco", "average", "normalised"]
    assert items["normalised"]["margin"] == 20 and items["average"]["margin"] is None
    assert items["nlvr2"]["margin"] is None  # saturated
    assert items["coco"]["margin"] == pytest.approx(0.2 * 100 * (45 - 15) / N)
    assert items["normalised"]["difference"] == pytest.approx(-100 / 30 / 3)
    assert items["normalised"]["verdict"] == items["vqav2"]["verdict"] == "matches"
    assert items["normalised"]["n_examples"] == 3 * N


def test_rows_of_two_folders_are_normalised_by_the_baselines_and_a_note_names_it(
    tmp_path: Path,
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for folder, best in ((new, 50), (old, 40)):
        write_image_text(folder, "full", best, 40, 45, 45)
        write_image_text(folder, "frozen", 20, 10, 15, 15)
        write_image_text(folder, "lora", 30, 25, 30, 30)
    [pair] = both_sides("lora", None, new, old, Filters())
    item = next(item for item in pair.items if item["task"] == "normalised")
    assert item["a"]["value"] == item["b"]["value"] == pytest.approx(50)
    assert item["difference"] == pytest.approx(0)
    [table] = compare_tables([pair])
    assert f"Normalised by full of {old}: what scores 100." in table.notes


def test_of_several_cards_of_full_fine_tuning_the_newest_scores_one_hundred(
    tmp_path: Path,
) -> None:
    older = image_text("full", 60, 50, 60, 200, card_hash="01" * 8, key="old")
    newer = {"created_at": "2026-11-25T00:00:00+00:00", "seed": 1, "key": "new"}
    runs = older, image_text("full", 80, 60, 70, 300, **newer), image_text("frozen", *[30] * 4)
    [board] = boards_of(tmp_path, *runs)
    assert board.ruler is not None and board.ruler.full["vqav2.accuracy"] == 80
    normalised = {row.label: row.normalised.mean for row in board.rows}
    assert normalised[board.ruler.row] == pytest.approx(100)
