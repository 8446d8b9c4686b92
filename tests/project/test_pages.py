"""README, LEADERBOARD.md and CITATION.cff say what the committed results and the package say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.leaderboard import TABLES, boards, missed_bars, page, suites, with_table


def test_the_readmes_table_stands_on_its_first_screen(project: Path) -> None:
    lines = (project / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines.index("<!-- /leaderboard -->") < 25


def test_the_leaderboard_page_is_what_its_tool_makes_of_the_committed_results(
    project: Path,
) -> None:
    text = (project / "LEADERBOARD.md").read_text(encoding="utf-8")
    found = boards()
    assert text == page(found, missed_bars(found))
    pictures = [part.split(")")[0] for part in text.split("](")[1:] if ".svg" in part[:60]]
    assert len(pictures) == len(suites(found))
    assert all((project / picture).is_file() for picture in pictures)


@pytest.mark.parametrize("name", TABLES)
def test_a_pages_table_is_todays_report_of_the_committed_results(project: Path, name: str) -> None:
    assert (project / name).read_text(encoding="utf-8") == with_table(name)
