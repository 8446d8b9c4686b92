"""Reading part files and training curves; what the columns promise."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.builders import image_text, write
from tests.leaderboard.log_builders import loss, write_log
from vlbench.errors import DataError, NothingToReport
from vlbench.leaderboard.results import Log, read_log, read_results
from vlbench.parquet import COLUMNS, LATER

ROWS = image_text("full", 1, 2, 3, 4)


def file_of(folder: Path, key: str = "full--mini-0") -> Path:
    return folder / "runs" / key / "result.parquet"


def test_the_table_is_the_union_of_the_part_files_without_columns_of_a_newer_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    monkeypatch.setitem(LATER, "init", "")
    write(tmp_path, ROWS, image_text("frozen", 5, 6, 7, 8))
    (tmp_path / "runs" / "unfinished").mkdir()
    file = file_of(tmp_path)
    assert pd.read_parquet(file)["value"].tolist() == [1, 2, 3, 4]
    query = f"SELECT task, value, majority FROM '{file}' WHERE main ORDER BY value"
    assert duckdb.sql(query).fetchall()[0] == ("vqav2", 1.0, None)
    table = pq.read_table(file).drop_columns(["init"])  # as if it came later
    pq.write_table(table.append_column("later", pa.array([1] * len(table))), file)
    results = read_results(tmp_path)
    assert list(results.columns) == [column.name for column in COLUMNS]
    assert sorted(results["value"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert results["init"].tolist() == [""] * 8


def test_a_copied_run_folder_does_not_count_twice(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    (tmp_path / "runs" / "full--mini-0").rename(tmp_path / "runs" / "a-copy")
    write(tmp_path, ROWS)
    with pytest.raises(DataError, match=r"Run full--mini-0 is in .*a-copy"):
        read_results(tmp_path)


def test_no_results_names_the_folder_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(
        NothingToReport, match=r"nowhere: No results to report: no such folder[\s\S]*vlbench run"
    ):
        read_results(tmp_path / "nowhere")
    (tmp_path / "runs" / "k").mkdir(parents=True)
    with pytest.raises(NothingToReport, match="1 run without a result"):
        read_results(tmp_path)


def test_what_is_no_parquet_or_of_another_schema_is_named(tmp_path: Path) -> None:
    file = file_of(write(tmp_path, ROWS))
    for content in (b"", b"PAR1 but not really", b"x" * 5000):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"full--mini-0.*Not a readable Parquet file"):
            read_results(tmp_path)
    for change in ({"seed": "zero"}, {"task": None}, {}):
        table = pa.Table.from_pylist([row | change for row in ROWS]).drop_columns(["limit"])
        pq.write_table(table, file)
        with pytest.raises(DataError, match=r"full--mini-0.*column 'limit' is missing"):
            read_results(tmp_path)


def test_curves_are_read_by_task_and_epoch_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    assert read_log(tmp_path / "runs" / "a") is None
    lines = [loss(10, "gqa", 3.0), loss(20, "coco", 2.5), loss(25, "coco", float("nan"))]
    validation = {"epoch": 1, "validation": {"gqa.accuracy": 61.5, "coco.meteor": None}}
    file = write_log(tmp_path, "a", *lines, validation, loss(30, "gqa", 2.0, epoch=2))
    losses = {"gqa": [(10, 3.0), (30, 2.0)], "coco": [(20, 2.5)]}
    assert read_log(tmp_path / "runs" / "a") == Log(losses, {1: {"gqa.accuracy": 61.5}})
    good = file.read_text()
    for line in ('{"step": 20, "lo', "[1]", '{"epoch": 1, "validation": 3}'):
        file.write_text(f"{good}{line}\n")
        with pytest.raises(DataError, match=r"metrics\.jsonl: line 6: "):
            read_log(tmp_path / "runs" / "a")
