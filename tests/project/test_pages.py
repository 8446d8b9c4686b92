"""README, LEADERBOARD.md and CITATION.cff say what the committed results and the package say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml
from typer.testing import CliRunner

from tools.leaderboard import FIRST_SCREEN, boards, page
from vlbench import __version__
from vlbench.cli.app import app

CITATION_KEYS = {
    *("cff-version", "message", "title", "authors", "type", "abstract", "version", "license"),
    *("keywords", "references"),
}
"""Of the Citation File Format 1.2.0 those that we use; it allows no others than its own."""
REFERENCE_KEYS = {
    *("type", "title", "authors", "collection-title", "collection-type", "conference", "year"),
    *("url", "notes"),
}


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
    assert text == page(boards())
    pictures = [part.split(")")[0] for part in text.split("](")[1:] if ".svg" in part[:60]]
    assert len(pictures) == 2
    assert all((project / picture).is_file() for picture in pictures)


def test_the_citation_follows_its_format_and_names_the_paper(project: Path) -> None:
    citation = yaml.safe_load((project / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys() <= CITATION_KEYS
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", __version__)
    [paper] = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys() <= REFERENCE_KEYS
    assert paper["type"] == "conference-paper" and paper["title"].startswith("VL-Adapter: ")
    assert [author["family-names"] for author in paper["authors"]] == ["Sung", "Cho", "Bansal"]
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert "/CITATION.cff" in settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
