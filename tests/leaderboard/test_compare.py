"""What is compared with what, and why something is not; how rows are named; the gate."""

from __future__ import annotations

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
    find_rows,
    gate,
    gate_notes,
    refuse,
    typed,
)
from vlbench.leaderboard.statistics import MCNEMAR, STUDENT, holm

SMOKE: dict[str, Any] = {"scope": "smoke", "limit": 64}
EQUAL = (24, 30, 36, 42)


def pairs_of(folder: Path, *names: str, baseline: Path | None = None, **filters: Any) -> list[Pair]:
    a, b = (*names, None)[:2]
    assert a is not None
    return both_sides(a, b, folder, baseline, Filters(**filters))


def items_of(folder: Path, *names: str, **others: Any) -> dict[str, Item]:
    [pair] = pairs_of(folder, *names, **others)
    return {item["task"]: item for item in pair.items}


def reasons(items: dict[str, Item]) -> dict[str, str]:
    return {task: item["reason"] for task, item in items.items() if item["reason"]}


def test_each_task_and_the_average_have_both_values_their_difference_and_a_verdict(
    tmp_path: Path,
) -> None:
    write_image_text(tmp_path, "full", 50, 30, 40, 30)
    write_image_text(tmp_path, "compacter", 20, 30, 42, 55)
    items = items_of(tmp_path, "compacter", "full")
    assert list(items) == ["vqav2", "gqa", "nlvr2", "coco", "average"]
    vqa, average = items["vqav2"], items["average"]
    assert vqa["a"]["value"] == pytest.approx(100 * 20 / N)
    assert vqa["b"]["value"] == pytest.approx(100 * 50 / N)
    assert vqa["difference"] == pytest.approx(-50)
    assert (vqa["n_examples"], [*vqa["a"]["runs"]]) == (N, ["0"])
    assert average["a"]["value"] == pytest.approx(100 * (20 + 30 + 42 + 55) / 4 / N)
    assert average["difference"] == pytest.approx(100 * (147 - 150) / 4 / N)
    verdicts = {task: item["verdict"] for task, item in items.items()}
    assert verdicts == dict.fromkeys(items, "undecided") | {
        "vqav2": "worse",
        "coco": "better",
    }
    for item in items.values():  # the interval agrees with the verdict
        assert (item["low"] > 0 or item["high"] < 0) == (item["verdict"] != "undecided")
    assert (items["coco"]["test"], average["test"]) == (MCNEMAR, STUDENT)
    p = [item["p"] for item in items.values()]  # all are one family
    assert [item["p_holm"] for item in items.values()] == holm(p)
    swapped = items_of(tmp_path, "full", "compacter")
    for task, item in items.items():
        assert swapped[task]["difference"] == pytest.approx(-item["difference"])
    assert (swapped["vqav2"]["verdict"], swapped["coco"]["verdict"]) == ("better", "worse")


def test_a_task_that_one_side_lacks_leaves_the_others(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 50, 30, 40, 30)
    write_image_text(tmp_path, "compacter", 20, 30, 42, None)
    result = reasons(items_of(tmp_path, "compacter", "full"))
    assert result == {"coco": "A has no result", "average": "coco cannot be compared"}
    assert reasons(items_of(tmp_path, "full", "compacter"))["coco"] == "B has no result"
    for method in ("lora", "lst"):  # no seed has all tasks
        write_image_text(tmp_path, method, 20, 30, 42, None)
        write_image_text(tmp_path, method, None, 30, 42, 10, seed=1)
    result = reasons(items_of(tmp_path, "lora", "lst"))
    assert result == {"average": "A has no seed with all tasks"}


@pytest.mark.parametrize(
    "change",
    [{"edition": "full"}, {"backbone": "clip-t5"}, SMOKE, {"backbone_hash": "dead" * 16}],
    ids=str,
)
def test_runs_of_different_setups_are_not_comparable(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write_image_text(tmp_path / "new", "compacter", *EQUAL)
    write_image_text(tmp_path / "old", "compacter", *EQUAL, **change)
    others: dict[str, Any] = {"baseline": tmp_path / "old", "include": ["smoke"]}
    pairs = pairs_of(tmp_path / "new", "compacter", **others)
    texts = [{item["reason"].partition(" has no runs of ")[0] for item in p.items} for p in pairs]
    assert texts == [
        {f"A (compacter of {tmp_path / 'new'})"},
        {f"B (compacter of {tmp_path / 'old'})"},
    ]


def test_tasks_with_other_data_are_not_comparable(tmp_path: Path) -> None:
    new, old, other = (tmp_path / name for name in ("new", "old", "other"))
    write_image_text(new, "compacter", *EQUAL)
    scores = {"vqav2": right(24), "gqa": right(30), "nlvr2": right(36, 50), "coco": right(42)}
    write_run(old, "compacter", scores)
    result = reasons(items_of(new, "compacter", baseline=old))
    assert result == {
        "nlvr2": "data nlvr2-of, 60 examples against data nlvr2-of, 50 examples",
        "average": "nlvr2 cannot be compared",
    }
    write_image_text(other, "compacter", 1, 1, 1, 1, data_fingerprint="feed" * 16)
    result = reasons(items_of(new, "compacter", baseline=other))
    assert "gqa-of-m, 60 examples against data feedfeed" in result["gqa"]


def test_predictions_that_are_missing_or_of_something_else_are_not_compared(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", *EQUAL)
    key = write_image_text(tmp_path, "compacter", *EQUAL)
    file = write_predictions(tmp_path, key, "gqa", right(33))
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
        f"{tmp_path / 'old'}: No results of compacter (train.epochs=1). There is: compacter."
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
        ("full", "full (from blue.safetensors 01234567)"),
        ("full:from=01234567", "full (from blue.safetensors 01234567)"),
        ("lora:card=02ff02ff", "lora (card 02ff02ff)"),
        ("cccc33", "compacter"),
        ("frozen", ""),
    ],
)
def test_a_row_is_named_by_its_method_with_what_sets_it_apart(
    board: Board, text: str, expected: str
) -> None:
    assert [row.label for _, row in find_rows(text, [board])] == ([expected] if expected else [])


def test_a_name_of_several_rows_or_of_none_is_refused_with_what_to_type(board: Board) -> None:
    with pytest.raises(UsageError) as error:
        find_rows("lora", [board])
    assert str(error.value) == (
        "'lora' names 2 rows; type one of:\n  lora:card=01ff01ff\n  lora:card=02ff02ff"
    )
    with pytest.raises(UsageError, match=r"Unknown method 'fulll'.*Did you mean 'full'"):
        find_rows("fulll", [board])
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
    if result["faults"]:
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
    "may be chance": ((31, 30, 40, 40), (30, 30, 40, 40), 0, []),
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
    assert [fault["text"] for fault in result["faults"]] == [f"image-text: {f}" for f in faults]
    assert result["is_passed"] == (not faults)
    count = "failed:" if faults else f"passed: {result['compared']} compared;"
    assert gate_notes(result)[0] == f"Gate {count} {RULE.format(max_drop)}"


def test_what_the_baseline_has_and_we_lack_is_lost(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_image_text(tmp_path / "old", "compacter", 20, 30, 40, 40, seed=seed)
    write_image_text(tmp_path / "new", "compacter", 20, 30, 40, 40, seed=1)
    faults = gated(tmp_path)["faults"]
    assert [fault["text"] for fault in faults] == [
        f"image-text: {task} lost: seeds 0, 2." for task in ("vqav2", "gqa", "nlvr2", "coco")
    ]
    pairs = pairs_of(tmp_path / "new", "compacter", baseline=tmp_path / "old", seeds=[1])
    assert gate(pairs, 0)["is_passed"]
    for seed in (1, 2):
        write_image_text(tmp_path / "new", "compacter", 0, 30, 40, 40, seed=seed)
    fault = gated(tmp_path)["faults"][0]
    assert fault["text"] == "image-text: vqav2 dropped by 33.3 points, lost: seed 0."
    assert (fault["task"], fault["kind"]) == ("vqav2", "dropped")
    write_run(tmp_path / "old", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    fault = gated(tmp_path)["faults"][-1]
    missing = f"nlvr: nlvr lost: A (compacter of {tmp_path / 'new'}) has no runs of nlvr"
    assert fault["text"].startswith(missing) and fault["kind"] == "lost"
