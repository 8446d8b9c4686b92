"""Tables by question family."""

from __future__ import annotations

from pathlib import Path

from tests.leaderboard.boards import boards_of, three_methods
from tests.leaderboard.builders import image_text, row
from vlbench.leaderboard.families import family_sheets


def test_families_stand_in_rows_where_there_are_more_of_them(tmp_path: Path) -> None:
    runs = []
    for seed in range(2):
        rows = image_text("full", 66, 58, 71, 112, seed=seed)
        for family in ("a", "b"):
            rows.append(row("full", "gqa", 50, family=family, n_examples=9, seed=seed))
        runs.append(rows)
    [board] = boards_of(tmp_path, *runs)
    [sheet] = family_sheets(board)
    assert [heading.name for heading in sheet.headings] == [
        "family",
        "examples",
        "majority",
        "full",
    ]
    assert [cell.text for cell in sheet.sections[0][0]] == ["a", "9", "—", "50.0"]
    assert [cell.text for cell in sheet.sections[1][0]] == ["all", "500", "—", "58.0"]


def test_methods_stand_in_rows_where_there_are_more_of_them(tmp_path: Path) -> None:
    [sheet] = family_sheets(three_methods(tmp_path))
    assert [heading.name for heading in sheet.headings] == ["method", "how many", "is there", "all"]
    methods, floors, examples = sheet.sections
    assert [cell.text for cell in methods[0]] == ["full", "70.0", "40.0", "67.0"]
    assert [cell.is_below for cell in methods[0]] == [False, False, True, False]
    assert [row[0].text for row in floors] == ["frozen", "majority answer"]
    assert [cell.text for cell in floors[1][1:]] == ["20.0", "50.0", "38.0"]
    assert [cell.text for cell in examples[0]] == ["examples", "200", "300", "500"]
