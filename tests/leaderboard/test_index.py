"""The index of results: never anything but the files as they are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.builders import image_text, write
from vlbench.errors import DataError
from vlbench.leaderboard import results as reading
from vlbench.leaderboard.index import index_file
from vlbench.leaderboard.results import read_results

OLD = time.time() - 3600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "LEAST", 2)
    made = tmp_path / "results"
    write(made, image_text("full", 1, 2, 3, 4), image_text("frozen", 5, 6, 7, 8))
    for file in made.glob("runs/*/result.parquet"):
        os.utime(file, (OLD, OLD))
    return made


def plainly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    with monkeypatch.context() as patch:
        patch.setattr(reading, "LEAST", 10**9)
        return read_results(folder)


def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no part file can be read."""
    monkeypatch.setattr(reading, "_read", None)


def test_the_rows_are_the_same_with_and_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = plainly(folder, monkeypatch)
    first = read_results(folder)
    unread(monkeypatch)
    pd.testing.assert_frame_equal(read_results(folder), plain)
    pd.testing.assert_frame_equal(first, plain)


def test_new_changed_and_vanished_runs_are_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_results(folder)
    write(folder, image_text("lora", 9, 9, 9, 9), image_text("full", 0, 2, 3, 4))
    assert sorted(read_results(folder)["value"]) == [0, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]
    (folder / "runs" / "frozen--mini-0" / "result.parquet").unlink()
    assert sorted(read_results(folder)["value"]) == [0, 2, 3, 4, 9, 9, 9, 9]
    pd.testing.assert_frame_equal(read_results(folder), plainly(folder, monkeypatch))


def test_a_file_written_twice_in_a_tick_is_read_again(folder: Path) -> None:
    now = time.time()
    file = folder / "runs" / "full--mini-0" / "result.parquet"
    os.utime(file, (now, now))
    told = file.stat()
    read_results(folder)
    table = pq.read_table(file)
    place = table.schema.get_field_index("value")
    values = pa.array([10.0, 20.0, 30.0, 40.0])
    pq.write_table(table.set_column(place, table.schema.field("value"), values), file)
    os.utime(file, ns=(told.st_mtime_ns, told.st_mtime_ns))
    assert 10.0 in set(read_results(folder)["value"])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 999])
def test_a_torn_index_is_made_again(
    folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = read_results(folder)
    index_file(folder).write_bytes(content)
    pd.testing.assert_frame_equal(read_results(folder), plain)
    unread(monkeypatch)
    pd.testing.assert_frame_equal(read_results(folder), plain)


def test_an_index_of_something_else_is_not_believed(folder: Path) -> None:
    plain = read_results(folder)
    pq.write_table(pa.table({"key": ["a"]}), index_file(folder))
    pd.testing.assert_frame_equal(read_results(folder), plain)


def test_it_may_be_deleted(folder: Path) -> None:
    plain = read_results(folder)
    index_file(folder).unlink()
    pd.testing.assert_frame_equal(read_results(folder), plain)
    assert index_file(folder).is_file()


def test_where_it_cannot_be_written_nothing_is_missed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "cache").write_text("a file, not a folder")
    assert len(read_results(folder)) == 8


def test_a_damaged_part_file_is_told_every_time(folder: Path) -> None:
    read_results(folder)
    (folder / "runs" / "full--mini-0" / "result.parquet").write_bytes(b"PAR1")
    for _ in range(2):
        with pytest.raises(DataError, match=r"full--mini-0.*Not a readable Parquet file"):
            read_results(folder)


def test_a_small_folder_leaves_no_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plainly(folder, monkeypatch)
    assert not index_file(folder).exists()
