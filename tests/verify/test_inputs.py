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
from vlbench.runs.sums import RESULT
from vlbench.verify import inputs
from vlbench.verify.inputs import (
    ANSWERS,
    Fault,
    Filters,
    Findings,
    are_equal,
    choose,
    done_runs,
    read_answers,
    read_rows,
)


@pytest.mark.parametrize(
    ("stored", "recomputed", "expected"),
    [
        (1.0, 1.0 + 1e-12, True),
        (97.9, 97.90001, False),
        (0.0, 1e-16, True),
        (5.8e-05, 5.8001e-05, False),
        (0.0, 1e-9, False),
        (None, 0.0, False),
        (math.nan, 1.0, False),
        (24, 25, False),
        ("a", "a", True),
    ],
)
def test_numbers_are_equal_up_to_rounding_and_all_else_exactly(
    stored: object, recomputed: object, expected: bool
) -> None:
    assert are_equal(stored, recomputed) is expected


def test_every_cell_is_counted_once_and_a_fault_is_json_whatever_is_stored() -> None:
    findings = Findings()
    findings.cell("f", "r", "c", 1, 1)
    findings.cell("f", "r", "d", 1, 2)
    findings.fault("f", "r", "", "two rows", "one")
    findings.skip("no data", 3)
    findings.skip("no data", 0)
    assert (findings.checked, len(findings.faults), findings.unchecked) == (3, 2, {"no data": 3})
    for value in (math.nan, math.inf, b"\xff", {"a": 1}, None):
        assert json.dumps(Fault("f", "r", "c", value, 1.0).as_json(), allow_nan=False)


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
        (Filters(methods=["./mine/full.toml"], seeds=[1, 7]), [1, 4]),
        (Filters(tasks=["image-text"], backbones=["mini-bart"], editions=["mini"]), [0, 1, 2, 4]),
        (Filters(tasks=["vqav2", "gqa,nlvr2,coco"]), [0, 1, 2, 4]),
    ],
)
def test_filters_let_pass_what_they_name_and_what_cannot_be_read(
    results: Path, filters: Filters, expected: list[int]
) -> None:
    assert [int(run.name, 16) for run in choose(results, filters)] == expected


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        (Filters(methods=["fulll"]), "Did you mean 'full'"),
        (Filters(backbones=["clip-t5"]), "Known: mini-bart"),
        (Filters(editions=["full"]), "Known: mini"),
        (Filters(tasks=["coca"]), "Unknown task or suite 'coca'"),
    ],
)
def test_unknown_names_are_refused(results: Path, filters: Filters, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose(results, filters)


def test_nothing_left_is_said(results: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToReport, match="no runs there"):
        done_runs(tmp_path / "none")
    for run in results.glob("runs/*4"):
        shutil.rmtree(run)
    with pytest.raises(NothingToReport, match="no run that is done is of seed 7; method full"):
        choose(results, Filters(methods=["full"], seeds=[7]))


@pytest.fixture
def result(tmp_path: Path) -> Path:
    write(tmp_path, image_text("full", 66, 58, 71, 112))
    return next(tmp_path.glob("runs/*/result.parquet"))


def test_a_column_that_came_later_is_filled_and_an_unknown_one_is_left_out(result: Path) -> None:
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


def test_more_rows_than_can_be_are_not_read(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST_RESULT_ROWS", 3)
    with pytest.raises(DataError, match=r"rows or values in them, 3 at the most"):
        read_rows(result)


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


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(64) + b"PAR1", None])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.parquet"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"Not a readable Parquet file|no such file"):
        read_answers(file)
