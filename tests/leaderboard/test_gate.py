"""What the gate lets pass, and what not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.leaderboard.scored import N, right, write_image_text, write_run
from vlbench.errors import NothingToReport, UsageError, WorseThanAllowed
from vlbench.leaderboard.gate import Gate, check_max_drop, gate, refuse
from vlbench.leaderboard.sides import Filters, both_sides


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
