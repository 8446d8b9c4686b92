"""A stored number that is none makes its run unreadable: named, and compared with nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tests.leaderboard.scored import right, write_image_text, write_predictions
from vlbench.cli.app import app
from vlbench.leaderboard import results as reading
from vlbench.leaderboard.results import read_results
from vlbench.parquet import result_schema

NUMBERS = pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
CELL = "column 'value' has cells that are no finite numbers"
SCORE = "column 'score' has cells that are no finite numbers"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rows of two seeds."""
    for seed in (0, 1):
        for number, method in enumerate(("full", "compacter", "frozen")):
            write_image_text(tmp_path, method, *(50 - 5 * number,) * 4, seed=seed)
    return tmp_path


def spoil(folder: Path, key: str, value: float) -> None:
    """Store it as the run's value of its first task."""
    file = folder / "runs" / key / "result.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[0]["value"] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=result_schema()), file)


def spoil_score(folder: Path, key: str, value: float) -> None:
    """Store it as the score of one example."""
    write_predictions(folder, key, "gqa", [*right(40)[:-1], value])


def do(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@NUMBERS
@pytest.mark.parametrize("spoilt", ["compacter--mini-1", "full--mini-0"])
def test_compare_leaves_the_run_out_names_it_and_ends_with_3(
    folder: Path, value: float, spoilt: str
) -> None:
    spoil(folder, spoilt, value)
    result = do("compare", "compacter", "full", "--results", str(folder))
    assert result.exit_code == 3
    assert spoilt in result.stderr and CELL in result.stderr
    assert "nan" not in result.stdout and "inf" not in result.stdout
    seed = 1 - int(spoilt[-1])
    alone = do("compare", "compacter", "full", "--results", str(folder), "--seeds", str(seed))
    assert "compacter" in alone.stdout and "B better" in result.stdout


@NUMBERS
def test_compare_says_which_predictions_are_unreadable_and_ends_with_3(
    folder: Path, value: float
) -> None:
    spoil_score(folder, "compacter--mini-0", value)
    result = do("compare", "compacter", "full", "--results", str(folder), "--format", "json")
    assert result.exit_code == 3
    assert SCORE in result.stderr and "compacter--mini-0/predictions/gqa.parquet" in result.stderr
    assert SCORE in result.stdout and "NaN" not in result.stdout


def test_a_gate_never_passes_beside_an_unreadable_run(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    for seed in (0, 1):
        write_image_text(old, "compacter", *(45,) * 4, seed=seed)
    words = ("--results", str(folder), "--baseline", str(old), "--max-drop", "1")
    assert do("compare", "compacter", *words).exit_code == 0
    spoil(folder, "frozen--mini-0", math.nan)
    assert do("compare", "compacter", *words).exit_code == 3
    spoil(folder, "compacter--mini-0", math.nan)
    result = do("compare", "compacter", *words)
    assert result.exit_code == 1  # a lost seed
    assert "seed 0" in result.stdout and CELL in result.stderr


@NUMBERS
@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_a_report_shows_the_rest_and_ends_with_3(
    folder: Path, value: float, format: str, tmp_path: Path
) -> None:
    spoil(folder, "compacter--mini-0", value)
    spoil_score(folder, "frozen--mini-1", value)
    out = tmp_path / "out"
    result = do("report", "--results", str(folder), "--format", format, "--out", str(out))
    assert result.exit_code == 3
    assert CELL in result.stderr and SCORE in result.stderr
    assert out.exists()


@NUMBERS
def test_a_picture_shows_the_rest_and_ends_with_3(
    folder: Path, value: float, tmp_path: Path
) -> None:
    spoil(folder, "compacter--mini-0", value)
    out = tmp_path / "pareto.svg"
    result = do("plot", "pareto", "--results", str(folder), "--out", str(out))
    assert result.exit_code == 3 and CELL in result.stderr
    assert out.exists()


def test_an_index_made_before_that_was_looked_at_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "LEAST", 1)
    with monkeypatch.context() as before:
        before.setattr(reading.index, "VERSION", 1)
        read_results(folder)
    assert reading.index.load(folder) == {}
