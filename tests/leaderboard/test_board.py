"""What a table may say, and what it must not mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.leaderboard.builders import TASKS, image_text, row, run, write
from vlbench.leaderboard.board import Board, Stat, summarise
from vlbench.leaderboard.results import read_results

SUITES = {"image-text": list(TASKS)}
Rows = list[dict[str, Any]]


def boards(folder: Path, *runs: Rows) -> list[Board]:
    return summarise(read_results(write(folder, *runs)), SUITES)


def board(folder: Path, *runs: Rows) -> Board:
    [only] = boards(folder, *runs)
    return only


def test_mean_and_sample_deviation_are_over_seeds(tmp_path: Path) -> None:
    runs = [
        image_text("full", value, 50, 70, 100, seed=seed) for seed, value in enumerate((1, 2, 6))
    ]
    [full] = board(tmp_path, *runs).rows
    assert full.seeds == (0, 1, 2)
    assert full.stat("vqav2.accuracy") == Stat(mean=3.0, std=pytest.approx(7**0.5), n=3)
    assert full.stat("coco.cider") == Stat(mean=100.0, std=0.0, n=3)
    assert full.average.mean == pytest.approx((3 + 50 + 70 + 100) / 4)


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    [full] = board(tmp_path, image_text("full", 1, 2, 3, 4)).rows
    assert full.stat("gqa.accuracy") == Stat(mean=2.0, std=None, n=1)


def test_there_is_no_average_when_a_task_is_missing(tmp_path: Path) -> None:
    three = {"vqav2": 60.0, "gqa": 50.0, "nlvr2": 70.0}
    found = board(tmp_path, run("full", three), image_text("adapter", 60, 50, 70, None))
    assert [each.average for each in found.rows] == [Stat(None, None, 0)] * 2
    assert list(found.mains) == list(TASKS)


def test_the_average_counts_only_complete_seeds(tmp_path: Path) -> None:
    runs = [image_text("full", 1, 1, 1, 1), image_text("full", 9, 9, 9, None, seed=1)]
    [full] = board(tmp_path, *runs).rows
    assert full.average == Stat(1.0, None, 1)
    assert full.stat("gqa.accuracy").n == 2


def test_a_value_that_is_missing_is_never_averaged(tmp_path: Path) -> None:
    [full] = board(tmp_path, image_text("full", None, 2, 3, 4)).rows
    assert full.stat("vqav2.accuracy") == Stat(None, None, 0)
    assert full.average.mean is None


@pytest.mark.parametrize(
    "other",
    [
        {"edition": "full"},
        {"backbone": "clip-bart"},
        {"scope": "smoke", "limit": 64},
        {"data_fingerprint": "other data"},
        {"n_examples": 499},
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_in_tables_apart(tmp_path: Path, other: Any) -> None:
    runs = [
        image_text("full", 1, 2, 3, 4),
        image_text("full", 5, 6, 7, 8, seed=1, key="b", **other),
    ]
    found = boards(tmp_path, *runs)
    assert [each.rows[0].seeds for each in found] in ([(0,), (1,)], [(1,), (0,)])
    assert found[0].scope == "complete"


def test_two_limits_are_in_tables_apart(tmp_path: Path) -> None:
    runs = [
        image_text("full", 1, 2, 3, 4, scope="smoke", limit=limit, key=str(limit), seed=limit)
        for limit in (32, 64)
    ]
    assert [each.limit for each in boards(tmp_path, *runs)] == [32, 64]


def test_tables_of_the_same_suite_on_other_data_say_so(tmp_path: Path) -> None:
    old = image_text("full", 5, 6, 7, 8, key="old", data_fingerprint="old")
    for each in boards(tmp_path, image_text("full", 1, 2, 3, 4), old):
        assert any("other data" in note for note in each.notes)


def test_the_newest_run_of_a_seed_counts_and_a_note_says_so(tmp_path: Path) -> None:
    new = image_text("full", 9, 9, 9, 9, key="a-new", created_at="2026-11-23T00:00:00+00:00")
    found = board(tmp_path, image_text("full", 1, 1, 1, 1, key="z-old"), new)
    assert found.rows[0].average == Stat(9.0, None, 1)
    assert found.notes == ["full, seed 0: the newest run counts (a-new, not z-old)."]


def test_another_version_of_a_card_is_a_row_of_its_own(tmp_path: Path) -> None:
    other = image_text("full", 9, 9, 9, 9, seed=1, card_hash="0123456789abcdef")
    found = board(tmp_path, image_text("full", 1, 1, 1, 1), other)
    assert [each.label for each in found.rows] == ["full (card 01234567)", "full (card c0ffeec0)"]


def test_settings_are_a_row_of_their_own(tmp_path: Path) -> None:
    other = image_text("full", 9, 9, 9, 9, settings="train.epochs=3", card_hash="other")
    found = board(tmp_path, image_text("full", 1, 1, 1, 1), other)
    assert [each.label for each in found.rows] == ["full (train.epochs=3)", "full"]


def test_runs_from_weights_are_never_averaged_with_runs_from_scratch(tmp_path: Path) -> None:
    first, second = "0123456789ab LAST.safetensors", "ba9876543210 LAST.safetensors"
    found = board(
        tmp_path,
        image_text("full", 1, 1, 1, 1),
        image_text("full", 9, 9, 9, 9, init=first),
        image_text("full", 7, 7, 7, 7, init=first.replace("LAST", "moved"), seed=1),
        image_text("full", 5, 5, 5, 5, init=second),
    )
    assert [(each.label, each.average.mean) for each in found.rows] == [
        ("full (from LAST.safetensors 01234567)", 8.0),
        ("full (from LAST.safetensors ba987654)", 5.0),
        ("full", 1.0),
    ]


def test_a_failed_run_is_told_and_never_averaged(tmp_path: Path) -> None:
    failed = image_text("full", None, None, None, None, seed=1, status="failed")
    found = board(tmp_path, image_text("full", 1, 1, 1, 1), failed)
    assert found.rows[0].seeds == (0,)
    assert found.notes == ["full, seed 1: no result (failed)."]


def test_rows_are_ordered_by_average_with_the_floors_last(tmp_path: Path) -> None:
    runs = [
        image_text("blind", 90, 90, 90, 90),
        image_text("frozen", 5, 5, 5, 5),
        image_text("lora", 80, 80, 80, None),
        image_text("adapter", 7, 7, 7, 7),
        image_text("full", 8, 8, 8, 8),
    ]
    methods = [each.method for each in board(tmp_path, *runs).rows]
    assert methods == ["full", "adapter", "lora", "blind", "frozen"]


def test_the_majority_is_weighted_over_families(tmp_path: Path) -> None:
    families = [
        row("full", "vqav2", 70, family="how many", majority=20.0, n_examples=100),
        row("full", "vqav2", 70, family="is there", majority=50.0, n_examples=400),
    ]
    found = board(tmp_path, image_text("full", 1, 2, 3, 4, majority=11.0) + families)
    assert found.majority["vqav2.accuracy"] == pytest.approx((20 * 100 + 50 * 400) / 500)
    assert found.majority["gqa.accuracy"] == 11.0


def test_families_that_do_not_cover_all_examples_leave_the_overall_majority(tmp_path: Path) -> None:
    part = row("full", "vqav2", 70, family="how many", majority=20.0, n_examples=100)
    found = board(tmp_path, [*image_text("full", 1, 2, 3, 4, majority=11.0), part])
    assert found.majority["vqav2.accuracy"] == 11.0


def test_what_is_at_or_below_a_floor_is_marked(tmp_path: Path) -> None:
    runs = [
        image_text("frozen", 40, 40, 40, 40, majority=35.0),
        image_text("adapter", 60, 40, 34, 99, majority=35.0),
        image_text("lora", 30, 30, 30, 30, majority=35.0),
        image_text("frozen", 99, 99, 99, 99, settings="train.epochs=99", majority=35.0),
    ]
    below = {each.label: each.below_floor for each in board(tmp_path, *runs).rows}
    assert below["adapter"] == {"gqa.accuracy", "nlvr2.accuracy"}
    assert below["lora"] == {"average", *(f"{task}.{name}" for task, name in TASKS.items())}
    assert below["frozen"] == set()


def test_rows_with_overrides_are_held_against_the_floors_that_have_them_too(tmp_path: Path) -> None:
    short, wide = "train.epochs=2", "params.reduction=4"
    weights = "c0ffee" * 10 + " a.safetensors"
    runs = [
        image_text("frozen", 50, 50, 50, 50),
        image_text("frozen", 30, 30, 30, 30, settings=short),
        image_text("blind", 35, 35, 35, 35),
        image_text("adapter", 20, 40, 60, 60, settings=short),
        image_text("adapter", 20, 40, 60, 60, settings=f"{short}, {wide}"),
        image_text("adapter", 20, 40, 60, 60, settings=wide),
        image_text("adapter", 20, 40, 60, 60, init=weights),
    ]
    below = {each.label: each.below_floor for each in board(tmp_path, *runs).rows}
    own, plain = {"vqav2.accuracy"}, {"vqav2.accuracy", "gqa.accuracy", "average"}
    assert below[f"adapter ({short})"] == below[f"adapter ({short}, {wide})"] == own
    assert below[f"adapter ({wide})"] == below["adapter (from a.safetensors c0ffeec0)"] == plain
    assert below["frozen"] == set()


def test_arrows_appear_where_every_run_has_the_same_overrides(tmp_path: Path) -> None:
    runs = [
        image_text(method, *values, settings="train.epochs=2")
        for method, values in {"frozen": (9, 9, 9, 9), "full": (8, 20, 20, 20)}.items()
    ]
    full, frozen = board(tmp_path, *runs).rows
    assert (full.below_floor, frozen.below_floor) == ({"vqav2.accuracy"}, set())


def test_a_model_without_pictures_is_a_floor_too(tmp_path: Path) -> None:
    runs = [image_text("frozen", 1, 1, 1, 60), image_text("blind", 30, 30, 30, 30)]
    runs += [image_text("adapter", 20, 50, 50, 50)]
    below = {each.label: each.below_floor for each in board(tmp_path, *runs).rows}
    assert below["adapter"] == {"vqav2.accuracy", "coco.cider"}
    assert below["blind"] == {"coco.cider"}
    assert "average" in below["frozen"]


def test_only_the_test_split_counts(tmp_path: Path) -> None:
    val = image_text("full", 99, 99, 99, 99, split="val")
    [full] = board(tmp_path, image_text("full", 1, 2, 3, 4) + val).rows
    assert full.stat("vqav2.accuracy").mean == 1.0
    assert full.costs["evaluate_seconds"].mean == 4 * 3.5


def test_a_suite_joined_from_tasks_needs_all_of_them(tmp_path: Path) -> None:
    found = board(tmp_path, run("full", {"vqav2": 60.0}, suite="vqav2+gqa"))
    assert list(found.mains) == ["vqav2", "gqa"]
    assert found.rows[0].average.mean is None


def test_other_weights_of_a_backbone_stand_in_a_table_of_their_own(tmp_path) -> None:
    other = image_text("full", 9, 9, 9, 9, key="b", seed=1, backbone_hash="cafe" * 16)
    folder = write(tmp_path, image_text("full", 1, 1, 1, 1, key="a"), other)
    found = summarise(read_results(folder))
    assert [[row.average.mean for row in each.rows] for each in found] == [[1.0], [9.0]]
    assert all("other weights" in each.notes[0] for each in found)


def test_what_is_no_more_than_its_deviation_above_a_floor_is_near_it(tmp_path: Path) -> None:
    floor = [image_text("frozen", 40, 40, 40, 40, seed=seed) for seed in (0, 1)]
    near = [image_text("lora", 41, 40.5, 40, 60, seed=seed) for seed in (0,)]
    near += [image_text("lora", 44, 40.5, 40, 80, seed=1)]
    (found,) = [each for each in board(tmp_path, *floor, *near).rows if each.method == "lora"]
    assert found.below_floor == {"nlvr2.accuracy"}
    assert found.near_floor == {"nlvr2.accuracy"}  # 42.5 is more than its 2.1 above 40
    other = image_text("lora", 47, 40.5, 40, 80, seed=1)
    write(tmp_path, other)
    (found,) = [each for each in board(tmp_path).rows if each.method == "lora"]
    assert found.near_floor == {"nlvr2.accuracy", "vqav2.accuracy"}  # 44, and 4.2 is its deviation
