"""What is compared with what, and why something is not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text
from tests.leaderboard.scored import N, right, write_image_text, write_predictions, write_run
from vlbench.errors import NothingToReport, UsageError, WorseThanAllowed
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.compare import (
    Filters,
    Gate,
    Item,
    Pair,
    both_sides,
    check_max_drop,
    find_rows,
    gate,
    refuse,
    typed,
)
from vlbench.leaderboard.statistics import holm

SMOKE: dict[str, Any] = {"scope": "smoke", "limit": 64}


def pairs_of(folder: Path, *names: str, baseline: Path | None = None, **filters: Any) -> list[Pair]:
    a, b = (*names, None)[:2]
    assert a is not None
    return both_sides(a, b, folder, baseline, Filters(**filters))


def items_of(folder: Path, *names: str, **others: Any) -> dict[str, Item]:
    [pair] = pairs_of(folder, *names, **others)
    return {item.task: item for item in pair.items}


def reasons(items: dict[str, Item]) -> dict[str, str]:
    return {task: item.reason for task, item in items.items() if item.tested is None}


def test_each_task_and_the_average_have_both_values_their_difference_and_a_verdict(
    tmp_path: Path,
) -> None:
    write_image_text(tmp_path, "full", 50, 30, 40, 30)
    write_image_text(tmp_path, "compacter", 20, 30, 42, 55)
    items = items_of(tmp_path, "compacter", "full")
    assert list(items) == ["vqav2", "gqa", "nlvr2", "coco", "average"]
    vqa = items["vqav2"]
    assert (vqa.a, vqa.b) == (pytest.approx(100 * 20 / N), pytest.approx(100 * 50 / N))
    assert vqa.seeds_a == vqa.seeds_b == (0,)
    assert vqa.tested is not None
    assert vqa.tested.difference == pytest.approx(-50)
    assert (vqa.tested.n_examples, vqa.tested.n_seeds) == (N, (1, 1))
    assert [item.verdict for item in items.values()] == [
        "B better", "no difference shown", "no difference shown", "A better", "no difference shown",
    ]  # fmt: skip
    average = items["average"]
    assert average.tested is not None
    assert average.a == pytest.approx(100 * (20 + 30 + 42 + 55) / 4 / N)
    assert average.tested.difference == pytest.approx(100 * (147 - 150) / 4 / N)


def test_swapping_the_two_turns_every_sign_and_verdict(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 50, 30, 40, 30)
    write_image_text(tmp_path, "compacter", 20, 30, 42, 55)
    items = items_of(tmp_path, "compacter", "full")
    swapped = items_of(tmp_path, "full", "compacter")
    for task, item in items.items():
        assert item.tested and swapped[task].tested
        assert swapped[task].tested.difference == pytest.approx(-item.tested.difference)
    assert swapped["vqav2"].verdict == "A better"
    assert swapped["coco"].verdict == "B better"


def test_all_tests_of_one_comparison_are_one_family(tmp_path: Path) -> None:
    for method, count in (("full", 40), ("compacter", 33)):
        write_image_text(tmp_path, method, count, count, 30, 30)
        write_image_text(tmp_path, method, count, 30, 30, 30, edition="full")
    pairs = pairs_of(tmp_path, "compacter", "full")
    items = [item for pair in pairs for item in pair.items]
    assert len(items) == 10
    assert [item.p_holm for item in items] == holm([item.tested.p for item in items if item.tested])


def test_each_side_has_the_seeds_that_it_was_run_with(tmp_path: Path) -> None:
    for seed, count in ((0, 20), (1, 30), (2, 60)):
        write_image_text(tmp_path, "full", count, 30, 30, 30, seed=seed)
    for seed in (0, 5):
        write_image_text(tmp_path, "compacter", 24, 30, 30, 30, seed=seed)
    vqa = items_of(tmp_path, "compacter", "full")["vqav2"]
    assert (vqa.seeds_a, vqa.seeds_b) == ((0, 5), (0, 1, 2))
    assert vqa.b == pytest.approx(100 * (20 + 30 + 60) / 3 / N)
    assert vqa.tested is not None and vqa.tested.n_seeds == (2, 3)


def test_an_interval_leaves_out_zero_exactly_where_the_adjusted_p_shows_a_difference(
    tmp_path: Path,
) -> None:
    for method, counts in (("full", (30, 30, 30, 30)), ("compacter", (32, 36, 40, 44))):
        write_image_text(tmp_path, method, *counts)
    items = items_of(tmp_path, "compacter", "full").values()
    assert {item.is_shown for item in items} == {True, False}
    for item in items:
        assert item.interval is not None
        assert item.is_shown == (item.interval[0] > 0 or item.interval[1] < 0)


def test_equal_runs_of_two_folders_show_no_difference(tmp_path: Path) -> None:
    for folder in ("new", "old"):
        write_image_text(tmp_path / folder, "compacter", 24, 30, 36, 42)
    items = items_of(tmp_path / "new", "compacter", baseline=tmp_path / "old")
    for item in items.values():
        assert item.tested is not None
        assert (item.tested.difference, item.p_holm) == (0, 1)
        assert item.verdict == "no difference shown"


def test_a_task_that_one_side_lacks_leaves_the_others(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 50, 30, 40, 30)
    write_image_text(tmp_path, "compacter", 20, 30, 42, None)
    found = reasons(items_of(tmp_path, "compacter", "full"))
    assert found == {"coco": "A has no result", "average": "coco cannot be compared"}
    found = reasons(items_of(tmp_path, "full", "compacter"))
    assert found["coco"] == "B has no result"


def test_the_average_needs_a_seed_that_has_all_tasks(tmp_path: Path) -> None:
    for method in ("full", "compacter"):
        write_image_text(tmp_path, method, 20, 30, 42, None)
        write_image_text(tmp_path, method, None, 30, 42, 10, seed=1)
    found = reasons(items_of(tmp_path, "compacter", "full"))
    assert found == {"average": "no seed of A has all tasks"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"edition": "full"}, "edition: mini against full"),
        ({"backbone": "clip-t5"}, "backbone: mini-bart against clip-t5"),
        (SMOKE, "scope: complete against smoke; limit: none against 64"),
        ({"backbone_hash": "dead" * 16}, "weights of the backbone: beefbeef against deaddead"),
    ],
    ids=str,
)
def test_runs_of_different_places_are_not_comparable(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    write_image_text(tmp_path / "new", "compacter", 24, 30, 36, 42)
    write_image_text(tmp_path / "old", "compacter", 24, 30, 36, 42, **change)
    found = items_of(
        tmp_path / "new", "compacter", baseline=tmp_path / "old", include=["smoke"],
    )  # fmt: skip
    assert set(reasons(found).values()) == {reason}
    assert len(found) == 5


def test_tasks_with_other_data_are_not_comparable(tmp_path: Path) -> None:
    write_image_text(tmp_path / "new", "compacter", 24, 30, 36, 42)
    scores = {"vqav2": right(24), "gqa": right(30), "nlvr2": right(36, 50), "coco": right(42)}
    write_run(tmp_path / "old", "compacter", scores)
    found = reasons(items_of(tmp_path / "new", "compacter", baseline=tmp_path / "old"))
    assert found == {
        "nlvr2": "60 examples against 50",
        "average": "nlvr2 cannot be compared",
    }
    write_image_text(tmp_path / "other", "compacter", 1, 1, 1, 1, data_fingerprint="feed" * 16)
    found = reasons(items_of(tmp_path / "new", "compacter", baseline=tmp_path / "other"))
    assert found["gqa"] == "data gqa-of-m against feedfeed"


def test_each_row_of_b_meets_what_is_likest_of_a(tmp_path: Path) -> None:
    for folder in ("new", "old"):
        write_image_text(tmp_path / folder, "compacter", 24, 30, 36, 42)
        write_image_text(tmp_path / folder, "compacter", 24, 30, 36, 42, **SMOKE, key="smoke")
    pairs = pairs_of(tmp_path / "new", "compacter", baseline=tmp_path / "old", include=["smoke"])
    assert [(pair.board.scope, len(pair.items)) for pair in pairs] == [
        ("complete", 5),
        ("smoke", 5),
    ]
    assert all(item.tested for pair in pairs for item in pair.items)


def test_a_suite_of_one_side_alone_is_told(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 24, 30, 36, 42)
    write_image_text(tmp_path, "compacter", 24, 30, 36, 42)
    write_run(tmp_path, "full", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    _, nlvr = pairs_of(tmp_path, "compacter", "full")
    assert nlvr.a is None
    assert [item.reason for item in nlvr.items] == ["A (compacter) has no runs of nlvr"]
    _, nlvr = pairs_of(tmp_path, "full", "compacter")
    assert [item.reason for item in nlvr.items] == ["B (compacter) has no runs of nlvr"]


def test_a_run_without_predictions_is_not_comparable(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 24, 30, 36, 42)
    key = write_image_text(tmp_path, "compacter", 24, 30, 36, 42)
    file = tmp_path / "runs" / key / "predictions" / "gqa.parquet"
    file.unlink()
    found = reasons(items_of(tmp_path, "compacter", "full"))
    assert list(found) == ["gqa", "average"]
    assert str(file) in found["gqa"]


def test_predictions_that_do_not_give_the_recorded_value_are_not_compared(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 24, 30, 36, 42)
    key = write_image_text(tmp_path, "compacter", 24, 30, 36, 42)
    write_predictions(tmp_path, key, "gqa", right(33))
    found = reasons(items_of(tmp_path, "full", "compacter"))
    assert found["gqa"] == (
        f"B's predictions of run {key} give 55.0 for gqa.accuracy, its result says 50.0"
    )


def test_predictions_of_other_examples_are_not_compared(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 24, 30, 36, 42)
    key = write_image_text(tmp_path, "compacter", 24, 30, 36, 42)
    other = write_predictions(tmp_path, key, "other", right(30))
    other.rename(other.with_name("gqa.parquet"))
    found = reasons(items_of(tmp_path, "compacter", "full"))
    assert list(found) == ["gqa", "average"]


def test_a_name_alone_means_the_baselines_row_with_the_same_settings(tmp_path: Path) -> None:
    epochs = {"settings": "train.epochs=1"}
    write_image_text(tmp_path / "new", "compacter", 24, 30, 36, 42, **epochs)
    write_image_text(tmp_path / "old", "compacter", 30, 30, 36, 42)
    write_image_text(tmp_path / "old", "compacter", 24, 30, 36, 42, **epochs)
    for names in (("compacter",), ("compacter", "compacter")):
        [pair] = pairs_of(tmp_path / "new", *names, baseline=tmp_path / "old")
        assert pair.b is not None
        assert pair.b.row.settings == "train.epochs=1"


def test_a_baseline_without_the_row_says_what_it_has(tmp_path: Path) -> None:
    write_image_text(tmp_path / "new", "compacter", 24, 30, 36, 42)
    write_image_text(tmp_path / "old", "compacter", 24, 30, 36, 42, settings="train.epochs=1")
    with pytest.raises(NothingToReport) as error:
        pairs_of(tmp_path / "new", "compacter", baseline=tmp_path / "old")
    assert str(error.value) == (
        f"{tmp_path / 'old'}: No results of compacter. There is:\n"
        "  image-text on mini-bart, mini edition, test split: compacter:train.epochs=1"
    )


def test_a_row_is_not_compared_with_itself(tmp_path: Path) -> None:
    write_image_text(tmp_path, "compacter", 24, 30, 36, 42)
    for baseline in (None, tmp_path, tmp_path / "runs" / ".."):
        with pytest.raises(UsageError, match="A and B are the same runs of compacter"):
            pairs_of(tmp_path, "compacter", "multiple-compacters", baseline=baseline)


def test_a_row_whose_runs_all_failed_has_no_result(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 24, 30, 36, 42)
    write_run(tmp_path, "compacter", {"vqav2": right(3)}, status="failed")
    found = reasons(items_of(tmp_path, "compacter", "full"))
    assert found["vqav2"] == "A has no result"


BLUE = "0123456789ab blue.safetensors"
FOUR = "params.reduction=4,train.epochs=3"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    values = (60, 50, 70, 100)
    [board] = boards_of(
        tmp_path,
        image_text("compacter", *values, key="aaaa1111bbbb2222"),
        image_text("compacter", *values, key="cccc3333dddd4444", seed=1),
        image_text("compacter", *values, settings=FOUR),
        image_text("compacter", *values, settings="params.reduction=2"),
        image_text("full", *values, init=BLUE),
        image_text("shared-adapter", *values),
        image_text("lora", *values, card_hash="01ff" * 16, key="old"),
        image_text("lora", *values, card_hash="02ff" * 16, key="new"),
    )
    return board


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("compacter", "compacter"),
        ("multiple-compacters", "compacter"),
        ("./cards/compacter.toml", "compacter"),
        ("compacter:train.epochs=3, params.reduction=4", f"compacter ({FOUR})"),
        ("compacter:train.epochs=3", f"compacter ({FOUR})"),
        ("full", "full (from blue.safetensors 01234567)"),
        ("full:from=0123", "full (from blue.safetensors 01234567)"),
        ("lora:card=02", "lora (card 02ff02ff)"),
        ("cccc33", "compacter"),
    ],
)
def test_a_row_is_named_by_as_much_as_is_needed(board: Board, text: str, expected: str) -> None:
    [(_, row)] = find_rows(text, [board])
    assert row.label == expected


@pytest.mark.parametrize("text", ["compacter:train.epochs=4", "frozen", "full:from=123"])
def test_what_is_not_there_is_not_found(board: Board, text: str) -> None:
    assert find_rows(text, [board]) == []


def test_a_name_of_several_rows_is_refused_with_what_to_type(board: Board) -> None:
    with pytest.raises(UsageError) as error:
        find_rows("lora", [board])
    assert str(error.value) == (
        "'lora' names 2 rows; type one of:\n  lora:card=01ff01ff\n  lora:card=02ff02ff"
    )


def test_what_is_to_be_typed_names_the_row(board: Board) -> None:
    for row in board.rows:
        assert find_rows(typed(row), [board]) == [(board, row)]


def test_a_rows_own_name_is_of_no_row_with_other_settings(board: Board) -> None:
    rows = {row.label: row for row in board.rows}
    assert find_rows(rows["compacter"], [board]) == [(board, rows["compacter"])]
    four = rows[f"compacter ({FOUR})"]
    assert find_rows(four, [board]) == [(board, four)]
    other = [row for row in board.rows if row is not four]
    assert find_rows(four, [replace(board, rows=other)]) == []


def test_a_name_that_is_nothing_at_all_is_refused_with_the_nearest(board: Board) -> None:
    with pytest.raises(UsageError, match=r"'fulll' names no row.*Did you mean 'full'"):
        find_rows("fulll", [board])


def passed(folder: Path, max_drop: float) -> Gate:
    pairs = both_sides("compacter", None, folder / "new", folder / "old", Filters())
    found = gate(pairs, max_drop)
    if found.faults:
        with pytest.raises(WorseThanAllowed):
            refuse(pairs, found)
    return found


def faults(folder: Path, max_drop: float = 0.0) -> list[tuple[str, str]]:
    return [(fault.item.task, fault.kind) for fault in passed(folder, max_drop).faults]


def test_a_drop_that_is_large_and_significant_fails(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 50, 30, 40, 40)
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, 40)
    assert faults(tmp_path) == [("vqav2", "dropped"), ("average", "dropped")]
    assert passed(tmp_path, 0).notes[1:] == [
        "vqav2 dropped by 50.0 points.",
        "average dropped by 12.5 points.",
    ]


def test_a_drop_of_no_more_than_allowed_passes(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 50, 30, 40, 40)
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, 40)
    assert faults(tmp_path, 20) == [("vqav2", "dropped")]  # the average fell by 12.5
    assert faults(tmp_path, 50.01) == []


def test_a_drop_that_may_be_chance_passes(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 31, 30, 40, 40)
    write_image_text(tmp_path / "new", "compacter", 30, 30, 40, 40)
    found = passed(tmp_path, 0)
    assert found.is_passed
    assert found.notes == [
        "Gate passed: 5 compared; a significant drop of more than 0 points, "
        "or a lost number or seed, fails."
    ]


def test_an_improvement_passes(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 20, 30, 40, 40)
    write_image_text(tmp_path / "new", "compacter", 50, 30, 40, 40)
    assert faults(tmp_path) == []


def test_a_task_that_the_baseline_has_and_we_lack_is_lost(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 20, 30, 40, 40)
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, None)
    assert faults(tmp_path) == [("coco", "lost"), ("average", "lost")]
    assert passed(tmp_path, 0).notes == [
        "Gate failed: a significant drop of more than 0 points, or a lost number or seed, fails.",
        "coco lost: A has no result.",
        "average lost: coco cannot be compared.",
    ]


def test_a_suite_that_the_baseline_has_and_we_lack_is_lost(tmp_path: Path) -> None:
    for folder in ("old", "new"):
        write_image_text(tmp_path / folder, "compacter", 20, 30, 40, 40)
    write_run(tmp_path / "old", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, None)
    assert faults(tmp_path) == [("coco", "lost"), ("average", "lost"), ("nlvr", "lost")]
    assert passed(tmp_path, 0).notes[-1] == (
        f"nlvr lost: A (compacter of {tmp_path / 'new'}) has no runs of nlvr "
        "(nlvr on mini-bart, mini edition, test split)."
    )


def test_a_seed_that_the_baseline_has_and_we_lack_is_lost(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_image_text(tmp_path / "old", "compacter", 20, 30, 40, 40, seed=seed)
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, 40, seed=1)
    tasks = ("vqav2", "gqa", "nlvr2", "coco")
    assert faults(tmp_path) == [(task, "lost") for task in tasks]
    assert passed(tmp_path, 0).notes[1] == "vqav2 lost: seeds 0, 2."
    pairs = both_sides("compacter", None, tmp_path / "new", tmp_path / "old", Filters(seeds=[1]))
    assert gate(pairs, 0).is_passed


def test_a_task_that_dropped_and_lost_a_seed_says_both(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_image_text(tmp_path / "old", "compacter", 50, 30, 40, 40, seed=seed)
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, 40)
    assert passed(tmp_path, 0).notes[1] == "vqav2 dropped by 50.0 points, lost: seed 1."
    assert faults(tmp_path)[0] == ("vqav2", "dropped")


def test_a_task_whose_data_changed_is_lost(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 20, 30, 40, 40)
    scores = {task: right(30) for task in ("vqav2", "gqa", "nlvr2")} | {"coco": right(30, N - 1)}
    write_run(tmp_path / "new", "compacter", scores)
    assert faults(tmp_path, 100) == [("coco", "lost"), ("average", "lost")]


def test_what_the_baseline_never_had_is_no_loss(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 20, 30, 40, None)
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, 40)
    write_run(tmp_path / "new", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    found = passed(tmp_path, 0)
    assert found.is_passed
    assert found.compared == 3


def test_nothing_compared_never_passes(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", None, None, 40, None, seed=1)
    write_image_text(tmp_path / "new", "compacter", 20, 30, None, 40)
    pairs = both_sides("compacter", None, tmp_path / "new", tmp_path / "old", Filters())
    found = gate(pairs, 1)
    assert not found.is_passed
    for each in (found, None):
        with pytest.raises(NothingToReport):
            refuse(pairs, each)


@pytest.mark.parametrize("max_drop", [-0.1, math.nan, math.inf])
def test_a_gate_that_means_nothing_is_refused(max_drop: float) -> None:
    with pytest.raises(UsageError, match="--max-drop"):
        check_max_drop(max_drop)
