"""Tables on a terminal: aligned, never cut, marked without colour too."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.leaderboard.boards import METRICS, boards_of, official, three_methods, tied
from tests.leaderboard.builders import image_text, row, run
from vlbench.leaderboard.board import Board, is_below_floor, is_best
from vlbench.leaderboard.formats import as_markdown, as_text, print_tables
from vlbench.leaderboard.paper import paper_parts
from vlbench.leaderboard.tables import (
    MINUS,
    Cell,
    Column,
    Table,
    deviation,
    family_tables,
    number,
    percent,
    report_tables,
    signed,
)

BEST = {metric: 1 for metric in (*METRICS, "average")}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return tied(three_methods(tmp_path), {"full": BEST, "frozen": {name: 2 for name in BEST}})


def printed(sheet: Table, width: int, color: bool = False) -> list[str]:
    page = io.StringIO()
    system = "truecolor" if color else None
    console = Console(file=page, width=width, color_system=system, force_terminal=color)
    print_tables([sheet], console)
    return page.getvalue().splitlines()


def test_marks_stand_before_the_number_and_deviations_below_each_other(board: Board) -> None:
    lines = printed(report_tables([board])[0], 200)
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
    [full] = [
        line for line in printed(report_tables([board])[0], 200, color=True) if "*67.0" in line
    ]
    before, after = full.split("*67.0")
    assert before.endswith("\x1b[1m")
    assert after.startswith("\x1b[0m\x1b[2m ±1.0")


def test_deviations_stand_below_the_numbers_where_the_room_is_small(board: Board) -> None:
    lines = printed(report_tables([board])[0], 72)
    at = next(index for index, line in enumerate(lines) if line.startswith("full "))
    end = lines[at].index("67.0") + 4
    assert lines[at + 1][:end].endswith(" ±1.0")
    assert all(cell_len(line) <= 72 for line in lines)


def test_a_table_too_wide_in_any_layout_comes_in_parts_that_repeat_the_names() -> None:
    headings = [Column("method"), *(Column(f"column{index}", "%") for index in range(10))]
    rows = [[Cell(name), *(Cell(f"{index}1.5") for index in range(10))] for name in ("aaa", "bbb")]
    lines = printed(Table("Title", headings, [rows], ["A note."]), 40)
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
    for sheet in report_tables([board], True, True):
        assert all(len(line) <= 80 for line in printed(sheet, 80)), sheet.title


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.44, "+0.4"), (-0.44, f"{MINUS}0.4"), (0.04, "0.0"), (-0.04, "0.0"), (1234.5, "+1,234.5")],
)
def test_a_difference_has_a_sign_unless_it_rounds_to_nothing(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(100.0, "100.00"), (5.338, "5.34"), (0.0123, "0.012"), (0.0, "0.00")]
)
def test_a_small_percentage_shows_two_digits(value: float, text: str) -> None:
    assert percent(value) == text


def test_what_is_not_there_is_a_dash_or_nothing() -> None:
    assert (number(None), percent(None), deviation(None)) == ("—", "—", "")


def has_best(board: Board) -> bool:
    return any(is_best(row, metric, board) for row in board.rows for metric in row.ties)


def test_the_best_group_is_marked_but_for_the_floors_in_it(tmp_path: Path) -> None:
    for group in (1, 2):
        groups = {"full": {"average": group}, "frozen": {"average": 1}}
        board = tied(three_methods(tmp_path), groups)
        best = {row.method: is_best(row, "average", board) for row in board.rows}
        assert best == {"full": group == 1, "shared-adapter": False, "frozen": False}


def test_nobody_is_the_best_of_one_or_where_nothing_was_tested(tmp_path: Path) -> None:
    board = three_methods(tmp_path)
    assert not has_best(board)
    assert not has_best(tied(board, {"full": {"average": 1}}))
    assert has_best(tied(board, {"full": {"average": 1}, "frozen": {"average": 1}}))


def test_a_row_is_below_the_floor_by_its_average_or_without_one_by_any_metric(
    tmp_path: Path,
) -> None:
    full, shared, frozen = three_methods(tmp_path).rows
    assert shared.average.n == 0
    assert is_below_floor(shared)
    assert not is_below_floor(full)
    below = frozenset({"gqa.accuracy"})
    assert not is_below_floor(replace(frozen, below_floor=below))
    assert is_below_floor(replace(frozen, below_floor=below | {"average"}))


def test_families_stand_in_rows_where_there_are_more_of_them(tmp_path: Path) -> None:
    runs = []
    for seed in range(2):
        rows = image_text("full", 66, 58, 71, 112, seed=seed)
        for family in ("a", "b"):
            rows.append(row("full", "gqa", 50, family=family, n_examples=9, seed=seed))
        runs.append(rows)
    [board] = boards_of(tmp_path, *runs)
    [sheet] = family_tables(board)
    assert [heading.name for heading in sheet.columns] == [
        "family",
        "examples",
        "majority",
        "full",
    ]
    assert [cell.text for cell in sheet.sections[0][0]] == ["a", "9", "—", "50.0"]
    assert [cell.text for cell in sheet.sections[1][0]] == ["all", "500", "—", "58.0"]


def test_methods_stand_in_rows_where_there_are_more_of_them(tmp_path: Path) -> None:
    [sheet] = family_tables(three_methods(tmp_path))
    assert [heading.name for heading in sheet.columns] == ["method", "how many", "is there", "all"]
    methods, floors, examples = sheet.sections
    assert [cell.text for cell in methods[0]] == ["full", "70.0", "40.0", "67.0"]
    assert [cell.is_below for cell in methods[0]] == [False, False, True, False]
    assert [row[0].text for row in floors] == ["frozen", "majority answer"]
    assert [cell.text for cell in floors[1][1:]] == ["20.0", "50.0", "38.0"]
    assert [cell.text for cell in examples[0]] == ["examples", "200", "300", "500"]


def words(line: str) -> str:
    """A line with single spaces."""
    return " ".join(line.split())


def test_the_same_place_has_one_table_with_differences_below_each_row(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, official("shared-adapter", 66.4, 54.5, 73.2, 117.1))
    [sheet] = report_tables(boards, papers=paper_parts(boards))
    lines = [words(line) for line in as_text([sheet]).splitlines()]
    at = lines.index("shared-adapter published [1] 4.18 65.9 54.5 74.2 114.9 77.4 1")
    expected = f"shared-adapter measured {MINUS} [1] — +0.5 0.0 {MINUS}1.0 +2.2 +0.4 —"
    assert lines[at + 1] == expected
    assert "shared-adapter published [2] 4.18 65.8 ±0.3 54.2 ±0.4 73.2 ±0.7" in lines[at + 2]
    notes = "\n".join(sheet.notes)
    assert (
        "[1] VL-Adapter (CVPR 2022, arXiv 2112.06825), Table 1, main results. Read from:" in notes
    )
    assert "vlbench did not measure them" in notes
    assert f"Measured {MINUS} [n]: a difference in points" in notes


def test_every_line_of_a_published_row_says_so(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, official("shared-adapter", 66.4, 54.5, 73.2, 117.1))
    [sheet] = report_tables(boards, papers=paper_parts(boards))
    measured, published = sheet.sections
    assert [row[0].text for row in measured] == ["shared-adapter"]
    tails = {row[0].tail.split("[")[0].strip() for row in published}
    assert tails == {"published", f"measured {MINUS}"}
    assert not any(cell.is_best or cell.is_below for row in published for cell in row)
    assert "| *full published \\[" in as_markdown([sheet])


def test_other_data_stand_in_a_table_of_their_own_whose_title_says_so(tmp_path: Path) -> None:
    boards = boards_of(
        tmp_path,
        image_text("full", 98, 82, 85, 328),
        image_text("full", 1, 2, 3, 4, scope="smoke", limit=64, key="smoke"),
    )
    assert len(boards) == 2
    first, published, second = report_tables(boards, papers=paper_parts(boards))
    assert "clip-bart" in published.title
    assert "other data and another backbone, not to be compared" in published.title
    assert not any(MINUS in row[0].tail for section in published.sections for row in section)
    for sheet in (first, second):
        assert [row[0].text for row in sheet.sections[0]] == ["full"]


def test_a_suite_that_no_paper_has_says_so(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, run("full", {"nlvr": 55.0}, suite="nlvr"))
    [sheet] = report_tables(boards, papers=paper_parts(boards))
    assert sheet.notes[-1] == "Published: no paper has rows of nlvr with these methods."
