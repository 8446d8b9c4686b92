"""Results of somebody who wants more than a row: names of markup, numbers that are none.

A stored number that is none makes its run unreadable: named, and compared with nothing.
"""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner, Result

from tests.leaderboard.builders import TASKS
from tests.leaderboard.scored import right, write_image_text, write_predictions, write_run
from vlbench.cli.app import app
from vlbench.parquet import COLUMNS
from vlbench.text import printable

HOSTILE = "=x\x1b[31m\u202e|`<b>&lt;$y$~~\\\r\n::error::z\x08\x00\x9b,%"
SHOWN = printable(HOSTILE)
CELL = "column 'value' has cells that are no finite numbers"
SCORE = "column 'score' has cells that are no finite numbers"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.mark.parametrize("format", ["table", "markdown", "latex", "csv", "json"])
def test_no_report_holds_hidden_characters_or_markup_of_names(hostile: Path, format: str) -> None:
    result = vlbench(hostile, "report", "--format", format, "--costs")
    assert result.exit_code == 0, result.output
    assert hidden(result.output) == set()
    assert "U+202E" in result.output
    if format == "csv":
        lines = list(csv.DictReader(io.StringIO(result.output, newline=""), strict=True))
        assert {line["method"] for line in lines} == {f"'{SHOWN}", "full"}
        assert {line["settings"] for line in lines} == {f"'{SHOWN}", ""}
    elif format == "markdown":
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(result.output)
        cells = [tokens[n + 1].children or [] for n, t in enumerate(tokens) if t.type == "td_open"]
        assert SHOWN in ["".join(child.content for child in children) for children in cells]
        kinds = {child.type for token in tokens for child in token.children or []}
        marks = {"strong_open", "strong_close", "em_open", "em_close"}
        assert kinds <= {"text", "text_special", *marks}


@pytest.mark.parametrize("format", ["table", "json"])
def test_no_comparison_holds_hidden_characters_or_markup_of_names(
    hostile: Path, format: str
) -> None:
    words = ("compare", "bbbbbbbb", "aaaaaaaa", "--format", format, "--max-drop", "1")
    result = vlbench(hostile, *words)
    assert result.exit_code == 1, result.output
    assert hidden(result.output) == set()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rows of two seeds."""
    for seed in (0, 1):
        for number, method in enumerate(("full", "compacter", "frozen")):
            write_image_text(tmp_path / "new", method, *(50 - 5 * number,) * 4, seed=seed)
    return tmp_path / "new"


def spoil(folder: Path, key: str, value: float) -> None:
    """Store it as the run's value of its first task."""
    file = folder / "runs" / key / "result.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[0]["value"] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), file)


def spoil_score(folder: Path, key: str, value: float) -> None:
    """Store it as the score of one example."""
    write_predictions(folder, key, "gqa", [*right(40)[:-1], value])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_compare_leaves_the_run_out_names_it_and_ends_with_3(folder: Path, value: float) -> None:
    spoil(folder, "compacter--mini-1", value)
    result = vlbench(folder, "compare", "compacter", "full")
    assert result.exit_code == 3
    assert "compacter--mini-1" in result.stderr and CELL in result.stderr
    assert "nan" not in result.stdout and "inf" not in result.stdout
    assert "worse" in result.stdout
    spoil_score(folder, "compacter--mini-0", value)
    result = vlbench(folder, "compare", "compacter", "full", "--format", "json")
    assert result.exit_code == 3
    assert SCORE in result.stderr and "compacter--mini-0/predictions/gqa.parquet" in result.stderr
    assert SCORE in result.stdout and "NaN" not in result.stdout


def test_a_gate_never_passes_beside_an_unreadable_run(folder: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_image_text(tmp_path / "old", "compacter", *(45,) * 4, seed=seed)
    words = ("compare", "compacter", "--baseline", str(tmp_path / "old"), "--max-drop", "1")
    assert vlbench(folder, *words).exit_code == 0
    spoil(folder, "frozen--mini-0", math.nan)
    assert vlbench(folder, *words).exit_code == 3
    spoil(folder, "compacter--mini-0", math.nan)
    result = vlbench(folder, *words)
    assert result.exit_code == 1  # a lost seed
    assert "seed 0" in result.stdout and CELL in result.stderr
