"""Reading result files, and what the columns promise."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.builders import image_text, write
from vlbench.errors import DataError, NothingToReport
from vlbench.leaderboard.results import read_results
from vlbench.parquet import COLUMNS, IDENTIFYING, result_schema


def file_of(folder: Path, key: str) -> Path:
    return folder / "runs" / key / "result.parquet"


def test_the_readme_describes_every_column_in_order(project: Path) -> None:
    text = (project / "results" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`( \*id\*)? \| (\w+) \| (.+?) \| (.+) \|$", text, re.MULTILINE)
    told = [(name, bool(marked), kind) for name, marked, kind, *_ in rows]
    assert told == [(each.name, each.name in IDENTIFYING, each.type) for each in COLUMNS]


def test_the_table_is_the_union_of_the_part_files(tmp_path: Path) -> None:
    write(tmp_path, image_text("full", 1, 2, 3, 4), image_text("frozen", 5, 6, 7, 8))
    (tmp_path / "runs" / "unfinished").mkdir()
    results = read_results(tmp_path)
    assert list(results.columns) == [column.name for column in COLUMNS]
    assert sorted(results["value"]) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_pandas_and_duckdb_open_the_files(tmp_path: Path) -> None:
    write(tmp_path, image_text("full", 66.5, 58, 71, 112))
    file = file_of(tmp_path, "full--mini-0")
    assert pd.read_parquet(file)["value"].tolist() == [66.5, 58, 71, 112]
    found = duckdb.sql(f"SELECT task, value, majority FROM '{file}' WHERE main ORDER BY value")
    assert found.fetchall()[0] == ("gqa", 58.0, None)


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", b"x" * 5000])
def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, image_text("full", 1, 2, 3, 4))
    file_of(tmp_path, "full--mini-0").write_bytes(content)
    with pytest.raises(DataError, match=r"full--mini-0.*Not a readable Parquet file"):
        read_results(tmp_path)


def test_all_faults_of_a_schema_are_told_at_once(tmp_path: Path) -> None:
    rows = [row | {"seed": "zero"} for row in image_text("full", 1, 2, 3, 4, key="k")]
    (tmp_path / "runs" / "k").mkdir(parents=True)
    table = pa.Table.from_pylist(rows).drop_columns(["metric"])
    pq.write_table(table, file_of(tmp_path, "k"))
    with pytest.raises(DataError) as error:
        read_results(tmp_path)
    assert "column 'seed' is string, expected int64" in str(error.value)
    assert "column 'metric' is missing" in str(error.value)


def test_a_column_of_a_newer_version_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, image_text("full", 1, 2, 3, 4))
    file = file_of(tmp_path, "full--mini-0")
    table = pq.read_table(file)
    pq.write_table(table.append_column("later", pa.array([1] * len(table))), file)
    assert "later" not in read_results(tmp_path).columns


def test_a_file_from_before_a_column_says_what_its_absence_means(tmp_path: Path) -> None:
    write(tmp_path, image_text("full", 1, 2, 3, 4))
    file = file_of(tmp_path, "full--mini-0")
    pq.write_table(pq.read_table(file).drop_columns(["init"]), file)
    assert read_results(tmp_path)["init"].tolist() == [""] * 4


def test_an_identifying_cell_cannot_be_written_empty(tmp_path: Path) -> None:
    rows = [row | {"metric": None} for row in image_text("full", 1, 2, 3, 4)]
    with pytest.raises(pa.ArrowInvalid):
        pq.write_table(pa.Table.from_pylist(rows, schema=result_schema()), tmp_path / "x")


def test_an_empty_identifying_cell_is_told(tmp_path: Path) -> None:
    rows = [row | {"task": None} for row in image_text("full", 1, 2, 3, 4, key="k")]
    loose = pa.schema([field.with_nullable(True) for field in result_schema()])
    (tmp_path / "runs" / "k").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=loose), file_of(tmp_path, "k"))
    with pytest.raises(DataError, match="column 'task' has empty cells"):
        read_results(tmp_path)


def test_a_copied_run_folder_does_not_count_twice(tmp_path: Path) -> None:
    write(tmp_path, image_text("full", 1, 2, 3, 4))
    (tmp_path / "runs" / "full--mini-0").rename(tmp_path / "runs" / "a-copy")
    write(tmp_path, image_text("full", 1, 2, 3, 4))
    with pytest.raises(DataError, match=r"Run full--mini-0 is in .*a-copy"):
        read_results(tmp_path)


def test_no_results_names_the_folder_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(NothingToReport, match=r"nowhere: No such folder[\s\S]*vlbench run"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(NothingToReport, match="No results to report here"):
        read_results(tmp_path)
    (tmp_path / "runs" / "k").mkdir(parents=True)
    with pytest.raises(NothingToReport, match="1 run there without a result"):
        read_results(tmp_path)
