"""The report as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.leaderboard.boards import boards_of, official, three_methods, tied
from vlbench.leaderboard.report import as_csv, paper_parts
from vlbench.leaderboard.summary import Board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    groups = {"full": {"average": 1, "gqa.accuracy": 1}, "frozen": {"average": 2}}
    return tied(three_methods(tmp_path), groups)


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_a_line_per_row_with_unrounded_numbers_and_empty_cells(board: Board) -> None:
    full, shared, frozen, majority = lines(as_csv([board]))
    assert full["origin"] == shared["origin"] == frozen["origin"] == "measured"
    assert (full["method"], full["seeds"], full["n_seeds"]) == ("full", "0 1 2", "3")
    assert (full["vqav2.accuracy.mean"], full["vqav2.accuracy.std"]) == ("67.0", "1.0")
    assert float(full["average.mean"]) == board.rows[0].average.mean
    assert (full["average.tie_group"], frozen["average.tie_group"]) == ("1", "2")
    assert (full["below_floor"], shared["below_floor"]) == ("false", "true")
    assert shared["gqa.accuracy.below_floor"] == "true"
    assert shared["coco.cider.mean"] == shared["average.mean"] == frozen["gqa.accuracy.std"] == ""
    assert shared["settings"] == "params.a_b=[1]|*"
    assert (majority["origin"], majority["method"]) == ("computed", "majority answer")
    assert (majority["vqav2.accuracy.mean"], majority["coco.cider.mean"]) == ("38.0", "30.0")
    assert all(None not in line and None not in line.values() for line in lines(as_csv([board])))


def test_lines_end_as_the_rfc_has_it_and_pandas_reads_numbers(board: Board) -> None:
    text = as_csv([board], True, True)
    assert text.count("\r\n") == text.count("\n") == 5
    table = pd.read_csv(io.StringIO(text))
    assert table["vqav2.accuracy.mean"].dtype == "float64"
    assert table["train_seconds.mean"][0] == 71.25
    assert table["vqav2.accuracy[is there].mean"][0] == 40.0
    assert table["vqav2.accuracy[is there].majority"][0] == 50.0


def test_boards_of_different_tasks_share_one_header(board: Board, tmp_path: Path) -> None:
    [other] = boards_of(tmp_path / "other", [*official("full", 1, 2, 3, 4)[:1]])
    other = replace(other, suite="vqav2", mains={"vqav2": "vqav2.accuracy"})
    found = lines(as_csv([board, other]))
    assert [line["suite"] for line in found] == ["image-text"] * 4 + ["vqav2"]
    assert found[-1]["coco.cider.mean"] == ""


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_text_cannot_be_a_formula_and_numbers_stay_numbers(board: Board, start: str) -> None:
    rows = [replace(row, method=f'{start}cmd|"x",1') for row in board.rows]
    found = lines(as_csv([replace(board, rows=rows)]))
    assert found[0]["method"] == f'\'{start}cmd|"x",1'
    assert found[0]["vqav2.accuracy.mean"] == "67.0"


def test_published_rows_are_told_apart_and_negative_differences_are_numbers(
    tmp_path: Path,
) -> None:
    [board] = boards_of(tmp_path, official("shared-adapter", 64.9, 54.5, 74.2, 114.9))
    found = lines(as_csv([board], papers=paper_parts([board])))
    assert [line["origin"] for line in found].count("measured") == 1
    published = [line for line in found if line["origin"] == "published"]
    [ours] = [
        line
        for line in published
        if line["method"] == "shared-adapter" and line["source.table"] == "Table 1"
    ]
    assert float(ours["vqav2.accuracy.difference"]) == pytest.approx(-1.0)
    assert (ours["edition"], ours["scope"], ours["seeds"], ours["runs"]) == ("full", "", "", "")
    assert ours["trainable_percent"] == "4.18"
    assert ours["source.paper"].startswith("VL-Adapter (CVPR 2022")
