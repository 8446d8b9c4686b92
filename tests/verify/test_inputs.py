"""Findings, choosing among runs, and reading stored files: known columns of known types only."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.builders import image_text, write
from tests.runs.test_spec import METHOD, SPEC
from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.leaderboard.load import Filters
from vlbench.parquet import LATER
from vlbench.runs.sums import RESULT
from vlbench.verify.inputs import (
    ANSWERS,
    Findings,
    choose,
    read_answers,
    read_rows,
)


def test_cells_are_counted_once_equal_up_to_rounding_and_a_fault_is_json() -> None:
    findings = Findings()
    for stored, recomputed in ((1.0, 1.0 + 1e-12), (0.0, 1e-16), ("a", "a")):
        findings.cell("f", "r", "c", stored, recomputed)
    assert not findings.faults
    pairs = ((5.8e-05, 5.8001e-05), (None, 0.0), (math.nan, 1.0), (24, 25), (b"\xff", "a"))
    for stored, recomputed in pairs:
        findings.cell("f", "r", "d", stored, recomputed)
    assert (findings.checked, len(findings.faults)) == (8, 5)
    assert all(json.dumps(fault.as_json(), allow_nan=False) for fault in findings.faults)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for number, (name, seed) in enumerate([("full", 0), ("full", 1), ("shared-adapter", 0)]):
        run = folder / "runs" / f"{number:016x}"
        run.mkdir(parents=True)
        method = METHOD.model_copy(update={"name": name})
        spec = SPEC.model_copy(update={"method": method, "suite": "image-text", "seed": seed})
        (run / "spec.json").write_text(spec.to_json())
        (run / RESULT).touch()
    waiting = folder / "runs" / f"{3:016x}"
    waiting.mkdir()
    unreadable = folder / "runs" / f"{4:016x}"
    unreadable.mkdir()
    (unreadable / "spec.json").write_text("{}")
    (unreadable / "status.json").write_text('{"status": "done"}')  # it lost its result
    return folder


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), [0, 1, 2, 4]),
        (Filters(methods=["full"]), [0, 1, 4]),
        (Filters(methods=["single-adapter,full"], seeds=[0]), [0, 2, 4]),
        (Filters(tasks=["image-text"], backbone=["mini-bart"], edition=["mini"]), [0, 1, 2, 4]),
        (Filters(tasks=["vqav2", "gqa,nlvr2,coco"]), [0, 1, 2, 4]),
    ],
)
def test_filters_let_pass_what_they_name_and_what_cannot_be_read(
    results: Path, filters: Filters, expected: list[int]
) -> None:
    assert [int(run.name, 16) for run in choose(results, filters)] == expected


def test_unknown_names_are_refused_and_nothing_left_is_said(results: Path, tmp_path: Path) -> None:
    for filters, words in (
        (Filters(methods=["fulll"]), "Did you mean 'full'"),
        (Filters(backbone=["clip-t5"]), "Known: mini-bart"),
        (Filters(tasks=["coca"]), "Unknown task or suite 'coca'"),
    ):
        with pytest.raises(UsageError, match=words):
            choose(results, filters)
    with pytest.raises(NothingToReport, match="no runs there"):
        choose(tmp_path / "none", Filters())
    for run in results.glob("runs/*4"):
        shutil.rmtree(run)
    with pytest.raises(NothingToReport, match="no run that is done is of seed 7; method full"):
        choose(results, Filters(methods=["full"], seeds=[7]))


@pytest.fixture
def result(tmp_path: Path) -> Path:
    write(tmp_path, image_text("full", 66, 58, 71, 112))
    return next(tmp_path.glob("runs/*/result.parquet"))


def test_a_column_that_came_later_is_filled_and_an_unknown_one_is_left_out(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LATER, "init", "")
    table = pq.read_table(result)
    older = table.drop_columns(["init"]).append_column("newer", pa.array([1] * table.num_rows))
    pq.write_table(older, result)
    rows = read_rows(result)
    assert {row["init"] for row in rows} == {""}
    assert "newer" not in rows[0]


def test_faulty_columns_are_named_together(result: Path) -> None:
    table = pq.read_table(result).drop_columns(["value"])
    at = table.column_names.index("seed")
    table = table.set_column(at, "seed", pa.array(["0"] * table.num_rows))
    pq.write_table(table.append_column("key", table.column("key")), result)
    with pytest.raises(DataError) as error:
        read_rows(result)
    assert "column 'value' is missing" in str(error.value)
    assert "column 'seed' is string, expected int64" in str(error.value)
    assert "column 'key' is string and string, expected string" in str(error.value)


def test_notes_of_pandas_are_not_looked_at_and_a_false_schema_is_refused(tmp_path: Path) -> None:
    row = {"id": "1", "family": "", "images": ["a"], "text": "", "prediction": "no"}
    row |= {"references": '"no"', "score": 1.0}
    file = tmp_path / "a.parquet"
    for notes in ({"pandas": "cos\nsystem\n(S'false'\ntR."}, {"ARROW:schema": "gASVAAA="}):
        pq.write_table(pa.Table.from_pylist([row], schema=ANSWERS.with_metadata(notes)), file)
        if "pandas" in notes:
            assert read_answers(file) == [row]
    with pytest.raises(DataError, match="Not a readable Parquet file"):
        read_answers(file)
