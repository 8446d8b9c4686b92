"""The report as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboard.boards import boards_of, official, three_methods, tied
from vlbench.leaderboard.items import as_json
from vlbench.leaderboard.report import paper_parts
from vlbench.leaderboard.summary import Board

KEYS = [
    "method", "backbone", "suite", "edition", "scope", "seeds", "trainable_percent", "metrics",
    "average", "tie_group", "below_floor",
]  # fmt: skip


@pytest.fixture
def board(tmp_path: Path) -> Board:
    groups = {"full": {"average": 1, "gqa.accuracy": 1}, "frozen": {"average": 2}}
    return tied(three_methods(tmp_path), groups)


def document(board: Board, *words: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(as_json([board], *words))
    return read


def test_an_item_has_the_promised_keys_first_and_exact_numbers(board: Board) -> None:
    read = document(board)
    assert read["schema"] == "vlbench.report/1"
    assert "published" not in read
    full, shared, frozen = read["items"]
    assert list(full)[: len(KEYS)] == KEYS
    assert [full[key] for key in KEYS[:7]] == [
        *("full", "mini-bart", "image-text", "mini", "complete", [0, 1, 2], 4.0)
    ]
    assert full["metrics"]["vqav2.accuracy"] == {"mean": 67.0, "std": 1.0, "n": 3}
    assert full["metrics"]["coco.bleu_4"] == {"mean": 30.0, "std": 0.0, "n": 3}
    assert full["average"]["mean"] == (67 + 58 + 71 + 112) / 4
    assert full["runs"] == {str(seed): f"full--mini-{seed}" for seed in range(3)}
    assert frozen["metrics"]["gqa.accuracy"] == {"mean": 38.0, "std": None, "n": 1}
    assert shared["average"] is None
    assert shared["metrics"]["coco.cider"] == {"mean": None, "std": None, "n": 0}
    assert "families" not in full and "costs" not in full


def test_the_tie_group_is_the_averages_and_below_floor_a_flag(board: Board) -> None:
    full, shared, frozen = document(board)["items"]
    assert (full["tie_group"], shared["tie_group"], frozen["tie_group"]) == (1, None, 2)
    assert full["tie_groups"] == {"average": 1, "gqa.accuracy": 1}
    assert (full["below_floor"], full["below_floor_metrics"]) == (False, [])
    assert (shared["below_floor"], shared["below_floor_metrics"]) == (True, ["gqa.accuracy"])


def test_a_board_says_its_title_and_notes(board: Board) -> None:
    [place] = document(board)["boards"]
    assert place["title"] == "image-text on mini-bart, mini edition, test split"
    assert any(note.startswith("Bold, or *") for note in place["notes"])


def test_families_and_costs_are_there_on_request(board: Board) -> None:
    full = document(board, True, True)["items"][0]
    expected = {"n_examples": 300, "majority": 50.0, "mean": 40.0, "std": 0.0, "n": 3}
    assert full["families"]["vqav2.accuracy"]["is there"] == expected
    assert full["costs"]["train_seconds"]["mean"] == 71.25


def test_published_rows_stand_apart_from_the_items(board: Board, tmp_path: Path) -> None:
    measured = official("shared-adapter", 66.9, 54.5, 74.2, 114.9)
    [full] = boards_of(tmp_path / "full", measured)
    for shown, expected in ((full, {"vqav2.accuracy": pytest.approx(1.0)}), (board, None)):
        read = document(shown, False, False, paper_parts([shown]))
        assert {item["method"] for item in read["items"]} == {row.method for row in shown.rows}
        [row] = [
            row
            for row in read["published"]
            if row["method"] == "shared-adapter" and row["source"]["table"] == "Table 1"
        ]
        assert row["source"]["paper"].startswith("VL-Adapter (CVPR 2022")
        assert (row["source"]["kind"], row["average"]["mean"]) == ("main", 77.4)
        assert (row["difference"] or {}).get("vqav2.accuracy") == (expected or {}).get(
            "vqav2.accuracy"
        )
        assert row["shown_with"]["edition"] == shown.edition
    assert row["not_comparable"] == ["other data", "another backbone"]
