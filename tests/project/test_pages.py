"""README, LEADERBOARD.md and CITATION.cff say what the committed results and the package say."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tools.leaderboard import FIRST_SCREEN, TABLES, boards, missed_bars, page, with_table
from vlbench.cli.app import app


def test_the_readme_shows_the_report_of_the_committed_results_before_line_25(project: Path) -> None:
    readme = (project / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- leaderboard -->")[1].split("<!-- /leaderboard -->")[0]
    words = ["report", "--results", str(project / "results" / "mini"), "--format", "markdown"]
    done = CliRunner().invoke(app, [*words, "--tasks", "image-text", "--method", FIRST_SCREEN])
    assert done.exit_code == 0, done.output
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [line for line in shown.splitlines() if line.startswith("|")] == table
    assert readme.splitlines().index("<!-- /leaderboard -->") < 25


def test_the_leaderboard_page_is_what_its_tool_makes_of_the_committed_results(
    project: Path,
) -> None:
    text = (project / "LEADERBOARD.md").read_text(encoding="utf-8")
    found = boards()
    assert text == page(found, missed_bars(found))
    pictures = [part.split(")")[0] for part in text.split("](")[1:] if ".svg" in part[:60]]
    assert len(pictures) == 2
    assert all((project / picture).is_file() for picture in pictures)


@pytest.mark.parametrize("name", TABLES)
def test_a_pages_table_is_todays_report_of_the_committed_results(project: Path, name: str) -> None:
    assert (project / name).read_text(encoding="utf-8") == with_table(name)
