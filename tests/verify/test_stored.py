"""Reading stored files: known columns of known types, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.builders import image_text, write
from vlbench.errors import DataError
from vlbench.verify import inputs
from vlbench.verify.inputs import ANSWERS, read_answers, read_lines, read_rows


@pytest.fixture
def result(tmp_path: Path) -> Path:
    write(tmp_path, image_text("full", 66, 58, 71, 112))
    return next(tmp_path.glob("runs/*/result.parquet"))


def test_a_column_that_came_later_is_filled_and_an_unknown_one_is_named(result: Path) -> None:
    table = pq.read_table(result)
    older = table.drop_columns(["init"]).append_column("newer", pa.array([1] * table.num_rows))
    pq.write_table(older, result)
    rows, unknown = read_rows(result)
    assert {row["init"] for row in rows} == {""}
    assert unknown == ["newer"] and "newer" not in rows[0]


def test_faulty_columns_are_told_together(result: Path) -> None:
    table = pq.read_table(result).drop_columns(["value"])
    at = table.column_names.index("seed")
    table = table.set_column(at, "seed", pa.array(["0"] * table.num_rows))
    pq.write_table(table, result)
    with pytest.raises(DataError) as error:
        read_rows(result)
    assert "column 'value' is missing" in str(error.value)
    assert "column 'seed' is string, expected int64" in str(error.value)


def test_a_column_that_is_there_twice_is_told(result: Path) -> None:
    table = pq.read_table(result)
    pq.write_table(table.append_column("seed", table.column("seed")), result)
    with pytest.raises(DataError, match="column 'seed' is there twice"):
        read_rows(result)


def test_more_rows_than_can_be_are_not_read(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST_RESULT_ROWS", 3)
    with pytest.raises(DataError, match=r"rows or values in them, 3 at the most"):
        read_rows(result)


@pytest.fixture
def row() -> dict[str, object]:
    row = {"id": "1", "family": "", "images": ["a"], "text": "", "prediction": "no"}
    return {**row, "references": '"no"', "score": 1.0}


def test_notes_of_pandas_are_not_looked_at(tmp_path: Path, row: dict[str, object]) -> None:
    notes = {"pandas": "cos\nsystem\n(S'false'\ntR."}
    file = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([row], schema=ANSWERS.with_metadata(notes)), file)
    assert read_answers(file) == [row]


def test_a_schema_of_arrow_that_is_none_is_told(tmp_path: Path, row: dict[str, object]) -> None:
    notes = {"ARROW:schema": "gASVAAA="}
    file = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([row], schema=ANSWERS.with_metadata(notes)), file)
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_answers(file)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(64) + b"PAR1", None])
def test_what_is_no_parquet_is_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.parquet"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable Parquet file|no such file"):
        read_answers(file)


@pytest.mark.parametrize("text", ["{", "[1]", "1", '{"a": 1}\n\n', "\x80"])
def test_a_line_that_is_no_object_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"line \d: not (JSON|an object)|cannot be read"):
        read_lines(file)


def test_lines_are_objects(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 0.5}, {"epoch": 1}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_lines(tmp_path / "a.jsonl") == lines
