"""Results of somebody who wants more than a row: names that hold commands, markup and controls."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner, Result

from tests.leaderboard.builders import TASKS
from tests.leaderboard.log_builders import trained
from tests.leaderboard.scored import right, write_run
from vlbench.cli.app import app
from vlbench.text import printable

HOSTILE = "=x\x1b[31m\u202e|`<b>&lt;$y$~~\\\r\n::error::z\x08\x00\x9b,%"
SHOWN = printable(HOSTILE)
FORMATS = ["table", "markdown", "latex", "csv", "json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run with a hostile method, one with everything else hostile."""
    folder = tmp_path_factory.mktemp("results")
    scores = {task: right(40) for task in TASKS}
    write_run(folder, HOSTILE, scores, title=HOSTILE, key="aaaaaaaa")
    facts = dict.fromkeys(("settings", "device", "denominator", "code_version"), HOSTILE)
    init = f"0123456789ab {HOSTILE}"
    write_run(folder, "full", {**scores, "gqa": right(20)}, init=init, key="bbbbbbbb", **facts)
    return folder


def vlbench(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--results", str(folder)])


def hidden(text: str) -> set[str]:
    """The control characters and signs of direction in a text, besides its line ends."""
    return set(re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text.replace("\r\n", "\n")))


@pytest.mark.parametrize("format", FORMATS)
def test_no_report_holds_hidden_characters(folder: Path, format: str) -> None:
    result = vlbench(folder, "report", "--format", format, "--costs")
    assert result.exit_code == 0, result.output
    assert hidden(result.output) == set()
    assert "U+202E" in result.output


@pytest.mark.parametrize("format", ["table", "markdown", "json", "github", "junit"])
def test_no_comparison_holds_hidden_characters(
    folder: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    result = vlbench(folder, "compare", "aaaaaaaa", "bbbbbbbb", "--format", format)
    assert result.exit_code == 0, result.output
    assert hidden(result.output) == set()


@pytest.mark.parametrize(
    "words",
    [["report", "--method", "none"], ["report", "--edition", "full"], ["compare", "none", "full"]],
    ids=" ".join,
)
def test_no_message_holds_hidden_characters(folder: Path, words: list[str]) -> None:
    result = vlbench(folder, *words)
    assert result.exit_code in (2, 4)
    assert hidden(result.stderr) == set()
    assert "[U+001B]" in result.stderr


def test_markdown_shows_names_as_text(folder: Path) -> None:
    text = vlbench(folder, "report", "--format", "markdown").output
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    cells = [
        tokens[n + 1].children or [] for n, each in enumerate(tokens) if each.type == "td_open"
    ]
    shown = ["".join(child.content for child in children) for children in cells]
    assert SHOWN in shown
    kinds = {child.type for token in tokens for child in token.children or []}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close", "em_open", "em_close"}


def test_csv_has_no_formula(folder: Path) -> None:
    text = vlbench(folder, "report", "--format", "csv").output
    lines = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert {line["method"] for line in lines} == {f"'{SHOWN}", "full"}
    assert {line["settings"] for line in lines} == {f"'{SHOWN}", ""}


def test_junit_is_xml(folder: Path) -> None:
    words = ["compare", "bbbbbbbb", "aaaaaaaa", "--format", "junit", "--max-drop", "1"]
    result = vlbench(folder, *words)
    assert result.exit_code == 1
    root = ElementTree.fromstring(result.stdout)
    assert SHOWN in root[0].get("name", "")


def test_a_line_of_the_runner_holds_one_command(folder: Path) -> None:
    words = ["compare", "bbbbbbbb", "aaaaaaaa", "--format", "github", "--max-drop", "1"]
    lines = vlbench(folder, *words).stdout.splitlines()
    assert all(re.match("::(error|notice|warning) title=vlbench%3A ", line) for line in lines)


@pytest.mark.parametrize("what", ["pareto", "curves"])
def test_a_picture_is_xml(tmp_path: Path, what: str) -> None:
    for method in (HOSTILE, "full"):
        trained(tmp_path, method, 1, key=method.replace("/", "-").replace("\x00", ""))
    out = tmp_path / "picture.svg"
    result = vlbench(tmp_path, "plot", what, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert ElementTree.parse(out).getroot().tag.endswith("svg")
