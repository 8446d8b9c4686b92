"""The report as table, Markdown and JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from tests.leaderboard.builders import TASKS, image_text, row, write
from vlbench.leaderboard.report import as_json, as_markdown, as_text, print_tables, sheets
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.summary import Board, summarise


def words(line: str) -> str:
    """A line with single spaces."""
    return " ".join(line.split())


@pytest.fixture
def boards(tmp_path: Path) -> list[Board]:
    runs = [
        image_text("full", 66 + seed, 58, 71, 112, seed=seed, majority=30.0) for seed in range(3)
    ]
    runs += [image_text("frozen", 41, 38, 51, 40, majority=30.0)]
    runs += [image_text("shared-adapter", 64, 20, 69, None, settings="params.a_b=[1]|*")]
    for rows in runs:
        seed = rows[0]["seed"]
        shared = {"seed": seed, "settings": rows[0]["settings"]}
        method = rows[0]["method"]
        rows.append(
            row(method, "vqav2", 70, family="how many", n_examples=200, majority=20.0, **shared)
        )
        rows.append(
            row(method, "vqav2", 40, family="is there", n_examples=300, majority=50.0, **shared)
        )
        rows.append(row(method, "coco", 30, metric="coco.bleu_4", main=False, **shared))
    return summarise(read_results(write(tmp_path, *runs)), {"image-text": list(TASKS)})


def test_the_text_has_a_row_per_method_and_the_floors(boards: list[Board]) -> None:
    text = as_text(sheets(boards))
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


def test_means_stand_below_each_other(boards: list[Board]) -> None:
    lines = as_text(sheets(boards)).splitlines()
    [full] = [line for line in lines if line.startswith("full ")]
    [frozen] = [line for line in lines if line.startswith("frozen ")]
    assert full.index("67.0") == frozen.index("41.0")


@pytest.mark.parametrize("width", [20, 60, 80, 100, 120, 200])
def test_no_number_is_cut_on_any_terminal(boards: list[Board], width: int) -> None:
    page = io.StringIO()
    print_tables(sheets(boards, True, True), Console(file=page, width=width, color_system=None))
    text = page.getvalue()
    assert "…" not in text
    for number in ("77.0", "112.0", "±1.0", "80,000"):
        assert number in text


def test_families_stand_beside_their_majority(boards: list[Board]) -> None:
    text = as_text(sheets(boards, families=True))
    [line] = [line for line in text.splitlines() if line.startswith("is there")]
    assert words(line) == "is there 300 50.0 ↓40.0 ↓40.0 ↓40.0"
    assert "gqa accuracy by family" not in text


def test_costs_have_their_units(boards: list[Board]) -> None:
    text = as_text(sheets(boards, costs=True)).split("costs\n")[1]
    [full] = [line for line in text.splitlines() if line.startswith("full ")]
    assert words(full) == "full 80,000 4.00 330.0 612 71.2 812 14.0"
    assert "Device: cpu." in text


def test_markdown_renders_as_tables_of_equal_rows(boards: list[Board]) -> None:
    page = MarkdownIt("gfm-like", {"linkify": False}).parse(as_markdown(sheets(boards, True, True)))
    kinds = [token.type for token in page]
    assert kinds.count("table_open") == 3
    assert kinds.count("heading_open") == 3
    cells = [page[i + 1].content for i, kind in enumerate(kinds) if kind == "td_open"]
    texts = [page[i + 1].children or [] for i, kind in enumerate(kinds) if kind == "td_open"]
    shown = ["".join(child.content for child in children) for children in texts]
    assert len(cells) == 4 * 8 + 3 * 8 + 3 * 6
    assert shown[:8] == [
        "full",
        "4.00",
        "67.0 ±1.0",
        "58.0 ±0.0",
        "71.0 ±0.0",
        "112.0 ±0.0",
        "77.0 ±0.2",
        "3",
    ]
    assert "shared-adapter (params.a_b=[1]|*)" in shown


def test_json_is_exact_and_unrounded(boards: list[Board]) -> None:
    document = json.loads(as_json(boards))
    assert document["schema"] == "vlbench.report/1"
    full, shared, frozen = document["items"]
    assert (
        full
        | {
            "method": "full",
            "backbone": "mini-bart",
            "suite": "image-text",
            "edition": "mini",
            "scope": "complete",
            "seeds": [0, 1, 2],
            "trainable_percent": 4.0,
        }
        == full
    )
    assert full["metrics"]["vqav2.accuracy"] == {"mean": 67.0, "std": 1.0, "n": 3}
    assert full["metrics"]["coco.bleu_4"] == {"mean": 30.0, "std": 0.0, "n": 3}
    assert full["average"]["mean"] == (67 + 58 + 71 + 112) / 4
    assert frozen["metrics"]["gqa.accuracy"] == {"mean": 38.0, "std": None, "n": 1}
    assert shared["average"] is None
    assert shared["below_floor"] == ["gqa.accuracy"]
    assert shared["metrics"]["coco.cider"] == {"mean": None, "std": None, "n": 0}
    assert "families" not in full and "costs" not in full


def test_json_holds_families_and_costs_on_request(boards: list[Board]) -> None:
    full = json.loads(as_json(boards, families=True, costs=True))["items"][0]
    expected = {"n_examples": 300, "majority": 50.0, "mean": 40.0, "std": 0.0, "n": 3}
    assert full["families"]["vqav2.accuracy"]["is there"] == expected
    assert full["costs"]["train_seconds"]["mean"] == 71.25


def test_a_single_task_has_no_average_column_and_no_empty_floor(tmp_path: Path) -> None:
    rows = [row("full", "nlvr", 55.0, suite="nlvr", edition="full")]
    text = as_text(sheets(summarise(read_results(write(tmp_path, rows)))))
    assert "average" not in text
    assert "majority" not in text
    assert "seed 0." in text


def test_smoke_says_so_in_the_title(tmp_path: Path) -> None:
    rows = image_text("full", 1, 2, 3, 4, scope="smoke", limit=64)
    text = as_text(sheets(summarise(read_results(write(tmp_path, rows)))))
    assert "(smoke: data cut to 64 examples a task)" in text.splitlines()[0]
