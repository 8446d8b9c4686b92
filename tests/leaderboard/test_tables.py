"""Tables on a terminal: aligned, never cut, marked without colour too."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.leaderboard.boards import METRICS, boards_of, three_methods, tied
from tests.leaderboard.builders import image_text
from vlbench.leaderboard.report import sheets
from vlbench.leaderboard.sheets import Cell, Heading, Sheet
from vlbench.leaderboard.summary import Board
from vlbench.leaderboard.tables import print_sheet

BEST = {metric: 1 for metric in (*METRICS, "average")}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return tied(three_methods(tmp_path), {"full": BEST, "frozen": {name: 2 for name in BEST}})


def printed(sheet: Sheet, width: int, color: bool = False) -> list[str]:
    page = io.StringIO()
    system = "truecolor" if color else None
    console = Console(file=page, width=width, color_system=system, force_terminal=color)
    print_sheet(sheet, console)
    return page.getvalue().splitlines()


def test_marks_stand_before_the_number_and_deviations_below_each_other(board: Board) -> None:
    lines = printed(sheets([board])[0], 200)
    [full] = [line for line in lines if line.startswith("full ")]
    [frozen] = [line for line in lines if line.startswith("frozen ")]
    [shared] = [line for line in lines if line.startswith("shared-adapter ")]
    assert full.index("67.0") == frozen.index("41.0") == full.index("*") + 1
    assert shared.index("20.0") == frozen.index("38.0") == shared.index("↓") + 1
    assert (
        "Bold, or *: the best of a column and what ties with it by test, where its mean is more "
        "than its deviation above the floors." in lines
    )


def test_the_best_is_bold_and_its_deviation_is_not(board: Board) -> None:
    [full] = [line for line in printed(sheets([board])[0], 200, color=True) if "*67.0" in line]
    before, after = full.split("*67.0")
    assert before.endswith("\x1b[1m")
    assert after.startswith("\x1b[0m\x1b[2m ±1.0")


def test_deviations_stand_below_the_numbers_where_the_room_is_small(board: Board) -> None:
    lines = printed(sheets([board])[0], 72)
    at = next(index for index, line in enumerate(lines) if line.startswith("full "))
    end = lines[at].index("67.0") + 4
    assert lines[at + 1][:end].endswith(" ±1.0")
    assert all(cell_len(line) <= 72 for line in lines)


def test_a_table_too_wide_in_any_layout_comes_in_parts_that_repeat_the_names() -> None:
    headings = [Heading("method"), *(Heading(f"column{index}", "%") for index in range(10))]
    rows = [[Cell(name), *(Cell(f"{index}1.5") for index in range(10))] for name in ("aaa", "bbb")]
    lines = printed(Sheet("Title", headings, [rows], ["A note."]), 40)
    assert sum(line.startswith("aaa") for line in lines) == 3
    assert all(len(line) <= 40 for line in lines)
    assert [word for line in lines for word in line.split() if word.startswith("column")] == [
        f"column{index}" for index in range(10)
    ]
    assert lines.count("A note.") == 1


def test_twenty_eight_methods_fit_eighty_columns(tmp_path: Path) -> None:
    runs = [
        image_text(f"half-shared-method{index}", 90 - index, 80, 70, 300, seed=seed)
        for index in range(28)
        for seed in range(2)
    ]
    [board] = boards_of(tmp_path, *runs)
    for sheet in sheets([board], True, True):
        assert all(len(line) <= 80 for line in printed(sheet, 80)), sheet.title
