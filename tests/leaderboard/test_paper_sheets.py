"""Published rows in tables: never to be taken for measured ones."""

from __future__ import annotations

from pathlib import Path

from tests.leaderboard.boards import boards_of, official
from tests.leaderboard.builders import image_text, run
from vlbench.leaderboard.numbers import MINUS
from vlbench.leaderboard.report import as_markdown, as_text, paper_parts, sheets


def words(line: str) -> str:
    """A line with single spaces."""
    return " ".join(line.split())


def test_the_same_place_has_one_table_with_differences_below_each_row(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, official("shared-adapter", 66.4, 54.5, 73.2, 117.1))
    [sheet] = sheets(boards, papers=paper_parts(boards))
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
    [sheet] = sheets(boards, papers=paper_parts(boards))
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
    first, published, second = sheets(boards, papers=paper_parts(boards))
    assert "clip-bart" in published.title
    assert "other data and another backbone, not to be compared" in published.title
    assert not any(MINUS in row[0].tail for section in published.sections for row in section)
    for sheet in (first, second):
        assert [row[0].text for row in sheet.sections[0]] == ["full"]


def test_a_suite_that_no_paper_has_says_so(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, run("full", {"nlvr": 55.0}, suite="nlvr"))
    [sheet] = sheets(boards, papers=paper_parts(boards))
    assert sheet.notes[-1] == "Published: no paper has rows of nlvr with these methods."
