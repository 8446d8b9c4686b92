"""The report: which tables there are, and what they say."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from tests.leaderboard.boards import METRICS, boards_of, official, three_methods, tied
from tests.leaderboard.builders import image_text, row
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.formats import as_csv, as_json, as_latex, as_markdown, as_text
from vlbench.leaderboard.paper import paper_parts
from vlbench.leaderboard.tables import report_tables


def words(line: str) -> str:
    """A line with single spaces."""
    return " ".join(line.split())


@pytest.fixture
def boards(tmp_path: Path) -> list[Board]:
    return [three_methods(tmp_path)]


def test_the_text_has_a_row_per_method_and_the_floors(boards: list[Board]) -> None:
    text = as_text(report_tables(boards))
    lines = text.splitlines()
    assert lines[0] == "image-text on mini-bart, mini edition, test split"
    [full] = [line for line in lines if line.startswith("full ")]
    assert words(full) == "full 4.00 67.0 ±1.0 58.0 ±0.0 71.0 ±0.0 112.0 ±0.0 77.0 ±0.2 3"
    [shared] = [line for line in lines if line.startswith("shared-adapter (params.a_b=[1]|*) ")]
    assert words(shared) == "shared-adapter (params.a_b=[1]|*) 4.00 64.0 ↓20.0 69.0 — — 3/4 1"
    [majority] = [line for line in lines if line.startswith("majority answer")]
    assert words(majority) == "majority answer — 38.0 30.0 30.0 30.0 — —"
    assert "seeds 0, 1, 2; shared-adapter (params.a_b=[1]|*): 0; frozen: 0." in text
    assert "vqav2 vqav2-of (500 examples)" in text
    assert "backbone + visual embedding + technique" in text


def test_costs_have_their_units(boards: list[Board]) -> None:
    text = as_text(report_tables(boards, costs=True)).split("costs\n")[1]
    [full] = [line for line in text.splitlines() if line.startswith("full ")]
    assert words(full) == "full 80,000 4.00 330.0 612 71.2 812 14.0"
    assert "Device: cpu." in text


def test_a_single_task_has_no_average_column_and_no_empty_floor(tmp_path: Path) -> None:
    rows = [row("full", "nlvr", 55.0, suite="nlvr", edition="full")]
    text = as_text(report_tables(boards_of(tmp_path, rows)))
    assert "average" not in text
    assert "majority" not in text
    assert "seed 0." in text


def test_smoke_says_so_in_the_title(tmp_path: Path) -> None:
    rows = image_text("full", 1, 2, 3, 4, scope="smoke", limit=64)
    text = as_text(report_tables(boards_of(tmp_path, rows)))
    assert "(smoke: data cut to 64 examples a task)" in text.splitlines()[0]


def test_every_format_has_the_marks_and_says_what_they_mean(boards: list[Board]) -> None:
    best = {metric: 1 for metric in (*METRICS, "average")}
    shown = [tied(boards[0], {"full": best, "frozen": {name: 2 for name in best}})]
    expected = {
        as_text: ("*67.0 ±1.0", "↓20.0", "Bold, or *: the best"),
        as_markdown: ("**67.0** ±1.0", "↓20.0", "Bold, or \\*: the best"),
        as_latex: (r"\textbf{67.0} & $\pm$1.0", r"$\downarrow$20.0", "Bold, or *: the best"),
    }
    for write_it, texts in expected.items():
        found = write_it(report_tables(shown))
        assert [text for text in texts if text not in found] == []
    assert '"tie_group": 1' in as_json(shown)
    assert '"below_floor": true' in as_json(shown)
    assert "average.tie_group" in as_csv(shown)


def test_boards_on_other_data_are_both_shown_and_told_apart_by_their_titles(tmp_path: Path) -> None:
    first, *others = image_text("full", 1, 2, 3, 4, key="other")
    runs = [image_text("full", 1, 2, 3, 4), [first | {"data_fingerprint": "new"}, *others]]
    place = "image-text on mini-bart, mini edition, test split"
    shown = report_tables(boards_of(tmp_path, *runs))
    assert [sheet.title for sheet in shown] == [
        f"{place} (vqav2 new, 500 examples)",
        f"{place} (vqav2 vqav2-of, 500 examples)",
    ]


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


KEYS = [
    "method", "backbone", "suite", "edition", "scope", "seeds", "trainable_percent", "metrics",
    "average", "tie_group", "below_floor",
]  # fmt: skip


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


def test_it_renders_as_tables_of_equal_rows(tmp_path: Path) -> None:
    text = as_markdown(report_tables([three_methods(tmp_path)], True, True))
    page = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    kinds = [token.type for token in page]
    assert kinds.count("table_open") == 3
    assert kinds.count("heading_open") == 3
    texts = [page[i + 1].children or [] for i, kind in enumerate(kinds) if kind == "td_open"]
    shown = ["".join(child.content for child in children) for children in texts]
    assert len(shown) == 4 * 8 + 3 * 8 + 5 * 4
    expected = "full|4.00|67.0 ±1.0|58.0 ±0.0|71.0 ±0.0|112.0 ±0.0|77.0 ±0.2|3"
    assert shown[:8] == expected.split("|")
    assert "shared-adapter (params.a_b=[1]|*)" in shown


def test_the_best_is_bold_floors_are_italic_and_the_notes_say_so(tmp_path: Path) -> None:
    groups = {"full": {"gqa.accuracy": 1}, "frozen": {"gqa.accuracy": 1}}
    text = as_markdown(report_tables([tied(three_methods(tmp_path), groups)]))
    assert " **58.0** ±0.0 |" in text
    assert "| *frozen* " in text
    assert " 38.0 |" in text  # a floor
    assert "- Bold, or \\*: the best of a column" in text
    assert text.count("**") == 2
