"""Which published rows belong to a board, and where they may be compared with measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboard.boards import METRICS, boards_of, official
from tests.leaderboard.builders import image_text, run
from vlbench.leaderboard.paper import paper_rows
from vlbench.leaderboard.paper_rows import PaperPart, published_with
from vlbench.leaderboard.summary import Board

TABLE_1 = (65.9, 54.5, 74.2, 114.9)
"""VL-Adapter's shared adapter."""


def part_of(folder: Path, *runs: list[dict[str, Any]]) -> PaperPart:
    return published_with(board_of(folder, *runs), paper_rows())


def board_of(folder: Path, *runs: list[dict[str, Any]]) -> Board:
    [board] = boards_of(folder, *runs)
    return board


def differences(part: PaperPart) -> Mapping[str, float]:
    """To the shared adapter's row in VL-Adapter's first table."""
    [each] = [
        each
        for each in part.rows
        if (each.row.method, each.row.table) == ("shared-adapter", "Table 1")
    ]
    return each.differences


def test_a_difference_is_measured_minus_published_per_metric(tmp_path: Path) -> None:
    part = part_of(tmp_path, official("shared-adapter", 66.4, 54.5, 73.2, 116.9))
    assert part.otherwise == part.incomparable == []
    expected = dict(zip((*METRICS, "average"), (0.5, 0.0, -1.0, 2.0, 0.35), strict=True))
    assert differences(part) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("others", "otherwise"),
    [
        ({"edition": "mini", "backbone": "mini-bart"}, ["other data", "another backbone"]),
        ({"edition": "mini"}, ["other data"]),
        ({"scope": "smoke", "limit": 64}, ["other data"]),
        ({"backbone": "mini-bart"}, ["another backbone"]),
    ],
    ids=str,
)
def test_other_data_or_another_backbone_stand_apart_without_differences(
    tmp_path: Path, others: dict[str, Any], otherwise: list[str]
) -> None:
    part = part_of(tmp_path, official("shared-adapter", *TABLE_1, **others))
    assert part.otherwise == otherwise
    assert part.rows
    assert {each.row.backbone for each in part.rows} == {"clip-bart"}
    assert not any(each.differences for each in part.rows)


@pytest.mark.parametrize(
    "others",
    [{"settings": "params.reduction=4"}, {"init": "0123456789ab full.safetensors"}],
    ids=str,
)
def test_a_changed_card_or_other_weights_are_not_the_papers_method(
    tmp_path: Path, others: dict[str, Any]
) -> None:
    part = part_of(tmp_path, official("shared-adapter", *TABLE_1, **others))
    assert not differences(part)


def test_two_versions_of_a_card_have_no_difference(tmp_path: Path) -> None:
    runs = [official("shared-adapter", *TABLE_1, card_hash=digit * 64, key=digit) for digit in "ab"]
    assert not differences(part_of(tmp_path, *runs))


def test_a_task_that_lacks_examples_has_no_difference_nor_has_the_average(tmp_path: Path) -> None:
    rows = official("shared-adapter", *TABLE_1)
    rows[1]["n_examples"] = 12_577
    part = part_of(tmp_path, rows)
    assert part.incomparable == ["gqa"]
    assert set(differences(part)) == {"vqav2.accuracy", "nlvr2.accuracy", "coco.cider"}


def test_the_video_tasks_are_scored_on_another_split_than_the_papers(tmp_path: Path) -> None:
    values = {"tvqa": 76.6, "how2qa": 73.9, "tvc": 50.0, "yc2c": 150.0}
    rows = run("full", values, suite="video-text", backbone="clip-bart", edition="full")
    part = part_of(tmp_path, rows)
    assert part.otherwise == []
    assert set(part.incomparable) == set(values)
    assert part.rows
    assert not any(each.differences for each in part.rows)


def test_rows_stand_in_the_boards_order_the_most_trusted_paper_first(tmp_path: Path) -> None:
    part = part_of(
        tmp_path,
        official("lora", 1, 1, 1, 1),
        official("adapter", 2, 2, 2, 2),
        official("frozen", 3, 3, 3, 3),
    )
    papers = [(each.row.method, each.row.paper.split()[0]) for each in part.rows]
    assert papers[:5] == [
        ("adapter", "VL-Adapter"),
        ("adapter", "Benchmarking"),
        ("lora", "VL-Adapter"),
        ("lora", "Benchmarking"),
        ("frozen", "VL-Adapter"),
    ]
    assert all(each.row.method is not None for each in part.rows)


def test_a_row_that_a_paper_prints_twice_stands_there_once(tmp_path: Path) -> None:
    part = part_of(tmp_path, official("shared-adapter", *TABLE_1))
    tables = [each.row.table for each in part.rows if each.row.method == "shared-adapter"]
    assert tables == ["Table 1", "Table 2", "CLIP-BART clean performance"]


def test_only_the_asked_methods_and_nothing_of_an_unknown_suite(tmp_path: Path) -> None:
    board = board_of(tmp_path, image_text("full", 1, 2, 3, 4))
    part = published_with(board, paper_rows(), {"full", "lora"})
    assert {each.row.method for each in part.rows} == {"full", "lora"}
    other = board_of(tmp_path / "other", run("full", {"nlvr": 55.0}, suite="nlvr"))
    assert published_with(other, paper_rows()).rows == []
