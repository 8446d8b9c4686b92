"""Reading part files and training curves; what the columns promise; the index of many runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.builders import image_text, write
from tests.leaderboard.log_builders import loss, validation, write_log
from vlbench.errors import DataError, NothingToReport
from vlbench.leaderboard import results as reading
from vlbench.leaderboard.results import Log, index_file, read_log, read_results
from vlbench.parquet import COLUMNS, result_schema

OLD = time.time() - 3600
ROWS = image_text("full", 1, 2, 3, 4)


def file_of(folder: Path, key: str = "full--mini-0") -> Path:
    return folder / "runs" / key / "result.parquet"


def test_the_table_is_the_union_of_the_part_files_without_columns_of_a_newer_version(
    tmp_path: Path,
) -> None:
    import duckdb

    write(tmp_path, ROWS, image_text("frozen", 5, 6, 7, 8))
    (tmp_path / "runs" / "unfinished").mkdir()
    file = file_of(tmp_path)
    assert pd.read_parquet(file)["value"].tolist() == [1, 2, 3, 4]
    query = f"SELECT task, value, majority FROM '{file}' WHERE main ORDER BY value"
    assert duckdb.sql(query).fetchall()[0] == ("vqav2", 1.0, None)
    table = pq.read_table(file).drop_columns(["init"])  # a column that older files lack
    pq.write_table(table.append_column("later", pa.array([1] * len(table))), file)
    results = read_results(tmp_path)
    assert list(results.columns) == [column.name for column in COLUMNS]
    assert sorted(results["value"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert results["init"].tolist() == [""] * 8


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", b"x" * 5000])
def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    file_of(write(tmp_path, ROWS)).write_bytes(content)
    with pytest.raises(DataError, match=r"full--mini-0.*Not a readable Parquet file"):
        read_results(tmp_path)


def test_all_faults_of_a_schema_come_at_once(tmp_path: Path) -> None:
    rows = [row | {"seed": "zero", "task": None} for row in ROWS]
    table = pa.Table.from_pylist(rows).drop_columns(["metric"])
    schema = table.schema.set(table.schema.get_field_index("task"), pa.field("task", pa.string()))
    pq.write_table(table.cast(schema), file_of(write(tmp_path, ROWS)))
    with pytest.raises(DataError) as error:
        read_results(tmp_path)
    assert "column 'seed' is string, expected int64" in str(error.value)
    assert "column 'metric' is missing" in str(error.value)
    assert "column 'task' has empty cells" in str(error.value)
    with pytest.raises(pa.ArrowInvalid):  # nor can such a cell be written
        rows = [row | {"metric": None} for row in ROWS]
        pq.write_table(pa.Table.from_pylist(rows, schema=result_schema()), tmp_path / "x")


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
    with pytest.raises(NothingToReport, match="No results to report: 0 runs without a result"):
        read_results(tmp_path)
    (tmp_path / "runs" / "k").mkdir(parents=True)
    with pytest.raises(NothingToReport, match="1 run without a result"):
        read_results(tmp_path)


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of an hour ago in a folder that has an index."""
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "INDEXED_RUNS", 2)
    folder = write(tmp_path / "results", ROWS, image_text("frozen", 5, 6, 7, 8))
    for file in folder.glob("runs/*/result.parquet"):
        os.utime(file, (OLD, OLD))
    return folder


def plainly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    with monkeypatch.context() as patch:
        patch.setattr(reading, "INDEXED_RUNS", 10**9)
        return read_results(folder)


def values(folder: Path) -> list[float]:
    return sorted(read_results(folder)["value"])


def test_the_rows_are_the_same_with_and_without_an_index(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = plainly(indexed, monkeypatch)
    assert not index_file(indexed).exists()
    pd.testing.assert_frame_equal(read_results(indexed), plain)
    monkeypatch.setattr(reading, "_read_part", None)  # from now on no part file can be read
    pd.testing.assert_frame_equal(read_results(indexed), plain)


def test_new_changed_vanished_and_damaged_runs_are_noticed(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_results(indexed)
    write(indexed, image_text("lora", 9, 9, 9, 9), image_text("full", 0, 2, 3, 4))
    assert values(indexed) == [0, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]
    file_of(indexed, "frozen--mini-0").unlink()
    assert values(indexed) == [0, 2, 3, 4, 9, 9, 9, 9]
    pd.testing.assert_frame_equal(read_results(indexed), plainly(indexed, monkeypatch))
    file_of(indexed).write_bytes(b"PAR1")
    for _ in range(2):
        with pytest.raises(DataError, match=r"full--mini-0.*Not a readable Parquet file"):
            read_results(indexed)


def put(file: Path, *numbers: float) -> None:
    """Other numbers in a file, laid out so that its size does not tell."""
    table = pq.read_table(file)
    index = table.schema.get_field_index("value")
    table = table.set_column(index, table.schema.field("value"), pa.array(numbers))
    pq.write_table(table, file, compression="none", use_dictionary=False, write_statistics=False)


def rewrite(file: Path, *numbers: float) -> None:
    """Other numbers in a file of the same size and time."""
    before = file.stat()
    put(file, *numbers)
    os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("case", ["young", "old", "slow"])
def test_a_file_that_was_young_when_it_was_read_is_read_again(
    indexed: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    file, whole, clock = file_of(indexed), reading._read_part, time.time_ns()
    put(file, 1.5, 2.25, 3.125, 4.75)
    if case == "old":
        os.utime(file, (OLD, OLD))

    def slow(part: Path) -> pa.Table:
        nonlocal clock
        clock += 10_000_000_000 * (part == file)
        return whole(part)

    with monkeypatch.context() as patch:
        if case == "slow":
            patch.setattr("vlbench.leaderboard.results.time.time_ns", lambda: clock)
            patch.setattr(reading, "_read_part", slow)
        read_results(indexed)
    rewrite(file, 4.75, 3.125, 2.25, 1.5)
    results = read_results(indexed).set_index(["key", "task"])["value"]
    assert results["full--mini-0", "coco"] == (4.75 if case == "old" else 1.5)


def test_a_run_that_goes_while_results_are_read_is_an_error(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_load_index", lambda folder: file_of(folder).unlink() or {})
    with pytest.raises(DataError, match=r"full--mini-0.*It has gone"):
        read_results(indexed)


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "torn": lambda file: file.write_bytes(file.read_bytes()[:-50]),
    "other table": lambda file: pq.write_table(pa.table({"key": ["a"]}), file),
    "deleted": lambda file: file.unlink(),
    "unwritable": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_index_that_cannot_be_read_is_made_again(
    indexed: Path, spoil: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = read_results(indexed)
    spoil(index_file(indexed))
    pd.testing.assert_frame_equal(read_results(indexed), plain)
    if index_file(indexed).is_file():
        monkeypatch.setattr(reading, "_read_part", None)
        pd.testing.assert_frame_equal(read_results(indexed), plain)


def test_an_index_of_another_version_is_not_believed(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_results(indexed)
    assert reading._load_index(indexed)
    monkeypatch.setattr(reading, "INDEX_VERSION", reading.INDEX_VERSION + 1)
    assert reading._load_index(indexed) == {}


def log_of(folder: Path, *lines: dict[str, Any]) -> Log:
    write_log(folder, "a", *lines)
    log = read_log(folder, "a")
    assert log is not None
    return log


def test_losses_are_read_by_task_and_validations_by_epoch(tmp_path: Path) -> None:
    assert read_log(tmp_path, "a") is None
    lines = [loss(10, "gqa", 3.0), loss(20, "coco", 2.5), validation(1, 60, 50, 50, 90)]
    lines += [{"epoch": 2, "validation": {"gqa.accuracy": 61.5, "coco.meteor": None}}]
    log = log_of(tmp_path, *lines, loss(30, "gqa", 2.0, epoch=2))
    assert log.losses == {"gqa": [(10, 3.0), (30, 2.0)], "coco": [(20, 2.5)]}
    assert (log.validations[1]["coco.cider"], log.last_step) == (90, 30)
    assert log.validations[2] == {"gqa.accuracy": 61.5}
    log = log_of(tmp_path, loss(10, "gqa", float("nan")), loss(20, "gqa", float("inf")))
    assert (log.losses, log.last_step) == ({}, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 20, "lo', "metrics.jsonl: line 2: Not JSON: "),
        ("[1]", "metrics.jsonl: line 2: Neither a loss by step nor a validation."),
        *((json.dumps(line), "line 2: Neither") for line in (
            {"step": 20},
            {"step": 20, "task": "gqa", "loss": "1"},
            {"step": 20, "task": "gqa", "loss": None},
            {"epoch": 1, "validation": 3},
        )),
    ],
)  # fmt: skip
def test_a_damaged_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    file = write_log(tmp_path, "a", loss(10, "gqa", 3.0))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(DataError) as caught:
        read_log(tmp_path, "a")
    assert message in str(caught.value)
