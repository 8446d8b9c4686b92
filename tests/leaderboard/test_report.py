"""The report: which tables there are, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.leaderboard.boards import METRICS, boards_of, three_methods, tied
from tests.leaderboard.builders import image_text, row
from vlbench.leaderboard.report import as_csv, as_json, as_latex, as_markdown, as_text, sheets
from vlbench.leaderboard.summary import Board


def words(line: str) -> str:
    """A line with single spaces."""
    return " ".join(line.split())


@pytest.fixture
def boards(tmp_path: Path) -> list[Board]:
    return [three_methods(tmp_path)]


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


def test_costs_have_their_units(boards: list[Board]) -> None:
    text = as_text(sheets(boards, costs=True)).split("costs\n")[1]
    [full] = [line for line in text.splitlines() if line.startswith("full ")]
    assert words(full) == "full 80,000 4.00 330.0 612 71.2 812 14.0"
    assert "Device: cpu." in text


def test_a_single_task_has_no_average_column_and_no_empty_floor(tmp_path: Path) -> None:
    rows = [row("full", "nlvr", 55.0, suite="nlvr", edition="full")]
    text = as_text(sheets(boards_of(tmp_path, rows)))
    assert "average" not in text
    assert "majority" not in text
    assert "seed 0." in text


def test_smoke_says_so_in_the_title(tmp_path: Path) -> None:
    rows = image_text("full", 1, 2, 3, 4, scope="smoke", limit=64)
    text = as_text(sheets(boards_of(tmp_path, rows)))
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
        found = write_it(sheets(shown))
        assert [text for text in texts if text not in found] == []
    assert '"tie_group": 1' in as_json(shown)
    assert '"below_floor": true' in as_json(shown)
    assert "average.tie_group" in as_csv(shown)


def test_boards_on_other_data_are_both_shown_and_told_apart_by_their_titles(tmp_path: Path) -> None:
    first, *others = image_text("full", 1, 2, 3, 4, key="other")
    runs = [image_text("full", 1, 2, 3, 4), [first | {"data_fingerprint": "new"}, *others]]
    place = "image-text on mini-bart, mini edition, test split"
    shown = sheets(boards_of(tmp_path, *runs))
    assert [sheet.title for sheet in shown] == [
        f"{place} (vqav2 new, 500 examples)",
        f"{place} (vqav2 vqav2-of, 500 examples)",
    ]
