"""What is compared with what, and why something is not; how rows are named; the gate."""

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
EQUAL = (24, 30, 36, 42)


def pairs_of(folder: Path, *names: str, baseline: Path | None = None, **filters: Any) -> list[Pair]:
    a, b = (*names, None)[:2]
    assert a is not None
    return both_sides(a, b, folder, baseline, Filters(**filters))


def items_of(folder: Path, *names: str, **others: Any) -> dict[str, Item]:
    [pair] = pairs_of(folder, *names, **others)
    return {item.task: item for item in pair.items}


def reasons(items: dict[str, Item]) -> dict[str, str]:
    return {task: item.reason for task, item in items.items() if item.tested is None}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of one seed: one task better, one worse, two about equal."""
    folder = tmp_path_factory.mktemp("two")
    write_image_text(folder, "full", 50, 30, 40, 30)
    write_image_text(folder, "compacter", 20, 30, 42, 55)
    return folder


def test_each_task_and_the_average_have_both_values_their_difference_and_a_verdict(
    two: Path,
) -> None:
    items = items_of(two, "compacter", "full")
    assert list(items) == ["vqav2", "gqa", "nlvr2", "coco", "average"]
    vqa, average = items["vqav2"], items["average"]
    assert (vqa.a, vqa.b) == (pytest.approx(100 * 20 / N), pytest.approx(100 * 50 / N))
    assert vqa.seeds_a == vqa.seeds_b == (0,)
    assert vqa.tested and average.tested
    assert vqa.tested.difference == pytest.approx(-50)
    assert (vqa.tested.n_examples, vqa.tested.n_seeds) == (N, (1, 1))
    assert [item.verdict for item in items.values()] == [
        "B better", "no difference shown", "no difference shown", "A better", "no difference shown",
    ]  # fmt: skip
    assert average.a == pytest.approx(100 * (20 + 30 + 42 + 55) / 4 / N)
    assert average.tested.difference == pytest.approx(100 * (147 - 150) / 4 / N)


def test_swapping_the_two_turns_every_sign_and_verdict(two: Path) -> None:
    swapped = items_of(two, "full", "compacter")
    for task, item in items_of(two, "compacter", "full").items():
        assert item.tested and (other := swapped[task].tested)
        assert other.difference == pytest.approx(-item.tested.difference)
    assert (swapped["vqav2"].verdict, swapped["coco"].verdict) == ("A better", "B better")


def test_an_interval_leaves_out_zero_exactly_where_the_adjusted_p_shows_a_difference(
    two: Path,
) -> None:
    items = items_of(two, "compacter", "full").values()
    assert {item.is_shown for item in items} == {True, False}
    for item in items:
        assert item.interval is not None
        assert item.is_shown == (item.interval[0] > 0 or item.interval[1] < 0)


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


def test_equal_runs_of_two_folders_show_no_difference(tmp_path: Path) -> None:
    for folder in ("new", "old"):
        write_image_text(tmp_path / folder, "compacter", *EQUAL)
    for item in items_of(tmp_path / "new", "compacter", baseline=tmp_path / "old").values():
        assert item.tested is not None
        assert (item.tested.difference, item.p_holm) == (0, 1)
        assert item.verdict == "no difference shown"


def test_a_task_that_one_side_lacks_leaves_the_others(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 50, 30, 40, 30)
    write_image_text(tmp_path, "compacter", 20, 30, 42, None)
    write_run(tmp_path, "lora", {"vqav2": right(3)}, status="failed")
    result = reasons(items_of(tmp_path, "compacter", "full"))
    assert result == {"coco": "A has no result", "average": "coco cannot be compared"}
    assert reasons(items_of(tmp_path, "full", "compacter"))["coco"] == "B has no result"
    assert reasons(items_of(tmp_path, "lora", "full"))["vqav2"] == "A has no result"


def test_the_average_needs_a_seed_that_has_all_tasks(tmp_path: Path) -> None:
    for method in ("full", "compacter"):
        write_image_text(tmp_path, method, 20, 30, 42, None)
        write_image_text(tmp_path, method, None, 30, 42, 10, seed=1)
    result = reasons(items_of(tmp_path, "compacter", "full"))
    assert result == {"average": "no seed of A has all tasks"}


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
    write_image_text(tmp_path / "new", "compacter", *EQUAL)
    write_image_text(tmp_path / "old", "compacter", *EQUAL, **change)
    others: dict[str, Any] = {"baseline": tmp_path / "old", "include": ["smoke"]}
    result = items_of(tmp_path / "new", "compacter", **others)
    assert set(reasons(result).values()) == {reason}
    assert len(result) == 5


def test_tasks_with_other_data_are_not_comparable(tmp_path: Path) -> None:
    new, old, other = (tmp_path / name for name in ("new", "old", "other"))
    write_image_text(new, "compacter", *EQUAL)
    scores = {"vqav2": right(24), "gqa": right(30), "nlvr2": right(36, 50), "coco": right(42)}
    write_run(old, "compacter", scores)
    result = reasons(items_of(new, "compacter", baseline=old))
    assert result == {"nlvr2": "60 examples against 50", "average": "nlvr2 cannot be compared"}
    write_image_text(other, "compacter", 1, 1, 1, 1, data_fingerprint="feed" * 16)
    result = reasons(items_of(new, "compacter", baseline=other))
    assert result["gqa"] == "data gqa-of-m against feedfeed"


def test_each_row_of_b_meets_what_is_likest_of_a(tmp_path: Path) -> None:
    for folder in ("new", "old"):
        write_image_text(tmp_path / folder, "compacter", *EQUAL)
        write_image_text(tmp_path / folder, "compacter", *EQUAL, **SMOKE, key="smoke")
    pairs = pairs_of(tmp_path / "new", "compacter", baseline=tmp_path / "old", include=["smoke"])
    assert [(pair.board.scope, len(pair.items)) for pair in pairs] == [
        ("complete", 5),
        ("smoke", 5),
    ]
    assert all(item.tested for pair in pairs for item in pair.items)


def test_a_suite_of_one_side_alone_names_the_other(tmp_path: Path) -> None:
    for method in ("full", "compacter"):
        write_image_text(tmp_path, method, *EQUAL)
    write_run(tmp_path, "full", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    for names, side in ((("compacter", "full"), "A"), (("full", "compacter"), "B")):
        _, nlvr = pairs_of(tmp_path, *names)
        assert (nlvr.a is None) == (side == "A")
        assert [item.reason for item in nlvr.items] == [f"{side} (compacter) has no runs of nlvr"]


def test_predictions_that_are_missing_or_of_something_else_are_not_compared(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", *EQUAL)
    key = write_image_text(tmp_path, "compacter", *EQUAL)
    file = write_predictions(tmp_path, key, "gqa", right(33))
    result = reasons(items_of(tmp_path, "full", "compacter"))
    assert result["gqa"] == (
        f"B's predictions of run {key} give 55.0 for gqa.accuracy, its result says 50.0"
    )
    write_predictions(tmp_path, key, "other", right(30)).rename(file)
    result = reasons(items_of(tmp_path, "compacter", "full"))
    assert result["gqa"] == "A and B were tested on different examples of gqa"
    file.unlink()
    result = reasons(items_of(tmp_path, "compacter", "full"))
    assert list(result) == ["gqa", "average"]
    assert str(file) in result["gqa"]


def test_a_name_alone_means_the_baselines_row_with_the_same_settings(tmp_path: Path) -> None:
    epochs = {"settings": "train.epochs=1"}
    write_image_text(tmp_path / "new", "compacter", *EQUAL, **epochs)
    write_image_text(tmp_path / "old", "compacter", 30, 30, 36, 42)
    with pytest.raises(NothingToReport) as error:
        pairs_of(tmp_path / "new", "compacter", baseline=tmp_path / "old")
    assert str(error.value) == (
        f"{tmp_path / 'old'}: No results of compacter (train.epochs=1). There is:\n"
        "  image-text on mini-bart, mini edition, test split: compacter"
    )
    write_image_text(tmp_path / "old", "compacter", *EQUAL, **epochs)
    for names in (("compacter",), ("compacter", "compacter")):
        [pair] = pairs_of(tmp_path / "new", *names, baseline=tmp_path / "old")
        assert pair.b is not None and pair.b.row.settings == "train.epochs=1"


def test_a_row_is_not_compared_with_itself(tmp_path: Path) -> None:
    write_image_text(tmp_path, "compacter", *EQUAL)
    for baseline in (None, tmp_path, tmp_path / "runs" / ".."):
        with pytest.raises(UsageError, match="A and B are the same runs of compacter"):
            pairs_of(tmp_path, "compacter", "multiple-compacters", baseline=baseline)


FOUR = "params.reduction=4,train.epochs=3"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    values = (60, 50, 70, 100)
    [board] = boards_of(
        tmp_path_factory.mktemp("names"),
        image_text("compacter", *values, key="aaaa1111bbbb2222"),
        image_text("compacter", *values, key="cccc3333dddd4444", seed=1),
        image_text("compacter", *values, settings=FOUR),
        image_text("compacter", *values, settings="params.reduction=2"),
        image_text("full", *values, init="0123456789ab blue.safetensors"),
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
        ("compacter:train.epochs=4", ""),
        ("full", "full (from blue.safetensors 01234567)"),
        ("full:from=0123", "full (from blue.safetensors 01234567)"),
        ("full:from=123", ""),
        ("lora:card=02", "lora (card 02ff02ff)"),
        ("cccc33", "compacter"),
        ("frozen", ""),
    ],
)
def test_a_row_is_named_by_as_much_as_is_needed(board: Board, text: str, expected: str) -> None:
    assert [row.label for _, row in find_rows(text, [board])] == ([expected] if expected else [])


def test_a_name_of_several_rows_or_of_none_is_refused_with_what_to_type(board: Board) -> None:
    with pytest.raises(UsageError) as error:
        find_rows("lora", [board])
    assert str(error.value) == (
        "'lora' names 2 rows; type one of:\n  lora:card=01ff01ff\n  lora:card=02ff02ff"
    )
    with pytest.raises(UsageError, match=r"'fulll' names no row.*Did you mean 'full'"):
        find_rows("fulll", [board])


def test_a_row_is_found_by_what_is_to_be_typed_and_in_another_board(board: Board) -> None:
    for row in board.rows:
        assert find_rows(typed(row), [board]) == [(board, row)]
        if row.method != "lora":  # whose two versions of a card are the same settings
            assert find_rows(row, [board]) == [(board, row)]
            others = [other for other in board.rows if other is not row]
            assert find_rows(row, [replace(board, rows=others)]) == []


def gated(folder: Path, max_drop: float = 0.0) -> Gate:
    """The gate of the folders `new` and `old`, which ends the command where it has faults."""
    pairs = pairs_of(folder / "new", "compacter", baseline=folder / "old")
    result = gate(pairs, max_drop)
    if result.faults:
        with pytest.raises(WorseThanAllowed):
            refuse(pairs, result)
    return result


Counts = tuple[int | None, ...]
RULE = "a significant drop of more than {:g} points, or a lost number or seed, fails."
LOST = ["coco lost: A has no result.", "average lost: coco cannot be compared."]
DROPPED = ["vqav2 dropped by 50.0 points.", "average dropped by 12.5 points."]
GATES: dict[str, tuple[Counts, Counts, float, list[str]]] = {
    "large and significant": ((50, 30, 40, 40), (20, 30, 40, 40), 0, DROPPED),
    "the average is allowed": ((50, 30, 40, 40), (20, 30, 40, 40), 20, DROPPED[:1]),
    "all is allowed": ((50, 30, 40, 40), (20, 30, 40, 40), 50.01, []),
    "may be chance": ((31, 30, 40, 40), (30, 30, 40, 40), 0, []),
    "better": ((20, 30, 40, 40), (50, 30, 40, 40), 0, []),
    "a task is lost": ((20, 30, 40, 40), (20, 30, 40, None), 100, LOST),
    "the baseline never had it": ((20, 30, 40, None), (20, 30, 40, 40), 0, []),
}


@pytest.mark.parametrize(("old", "new", "max_drop", "faults"), GATES.values(), ids=GATES)
def test_a_large_drop_and_a_lost_number_fail(
    tmp_path: Path, old: Counts, new: Counts, max_drop: float, faults: list[str]
) -> None:
    write_image_text(tmp_path / "old", "compacter", *old)
    write_image_text(tmp_path / "new", "compacter", *new)
    write_run(tmp_path / "new", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    result = gated(tmp_path, max_drop)
    assert result.notes[1:] == faults
    assert result.is_passed == (not faults)
    count = f"passed: {result.compared} compared;" if result.is_passed else "failed:"
    assert result.notes[0] == f"Gate {count} {RULE.format(max_drop)}"


def test_a_suite_that_the_baseline_has_and_we_lack_is_lost(tmp_path: Path) -> None:
    for folder in ("old", "new"):
        write_image_text(tmp_path / folder, "compacter", 20, 30, 40, 40)
    write_run(tmp_path / "old", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    assert gated(tmp_path).notes[1:] == [
        f"nlvr lost: A (compacter of {tmp_path / 'new'}) has no runs of nlvr."
    ]
    assert [fault.kind for fault in gated(tmp_path).faults] == ["lost"]


def test_a_seed_that_the_baseline_has_and_we_lack_is_lost(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_image_text(tmp_path / "old", "compacter", 20, 30, 40, 40, seed=seed)
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, 40, seed=1)
    tasks = ("vqav2", "gqa", "nlvr2", "coco")
    assert gated(tmp_path).notes[1:] == [f"{task} lost: seeds 0, 2." for task in tasks]
    pairs = pairs_of(tmp_path / "new", "compacter", baseline=tmp_path / "old", seeds=[1])
    assert gate(pairs, 0).is_passed
    for seed in (1, 2):
        write_image_text(tmp_path / "new", "compacter", 0, 30, 40, 40, seed=seed)
    result = gated(tmp_path)
    assert result.notes[1] == "vqav2 dropped by 33.3 points, lost: seed 0."
    assert (result.faults[0].item.task, result.faults[0].kind) == ("vqav2", "dropped")


def test_a_task_whose_data_changed_is_lost(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 20, 30, 40, 40)
    scores = {task: right(30) for task in ("vqav2", "gqa", "nlvr2")} | {"coco": right(30, N - 1)}
    write_run(tmp_path / "new", "compacter", scores)
    lost = [(fault.item.task, fault.kind) for fault in gated(tmp_path, 100).faults]
    assert lost == [("coco", "lost"), ("average", "lost")]


def test_nothing_compared_never_passes(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", None, None, 40, None, seed=1)
    write_image_text(tmp_path / "new", "compacter", 20, 30, None, 40)
    pairs = pairs_of(tmp_path / "new", "compacter", baseline=tmp_path / "old")
    result = gate(pairs, 1)
    assert not result.is_passed
    for outcome in (result, None):
        with pytest.raises(NothingToReport):
            refuse(pairs, outcome)


@pytest.mark.parametrize("max_drop", [-0.1, math.nan, math.inf])
def test_a_gate_that_means_nothing_is_refused(max_drop: float) -> None:
    with pytest.raises(UsageError, match="--max-drop"):
        check_max_drop(max_drop)
