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
from vlbench.leaderboard.results import index_file, read_results

OLD = time.time() - 3600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "INDEXED_RUNS", 2)
    made = tmp_path / "results"
    write(made, image_text("full", 1, 2, 3, 4), image_text("frozen", 5, 6, 7, 8))
    for file in made.glob("runs/*/result.parquet"):
        os.utime(file, (OLD, OLD))
    return made


def plainly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    with monkeypatch.context() as patch:
        patch.setattr(reading, "INDEXED_RUNS", 10**9)
        return read_results(folder)


def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no part file can be read."""
    monkeypatch.setattr(reading, "_read_part", None)


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


def put(file: Path, values: list[float]) -> None:
    """Other numbers in a file, laid out so that its size does not tell."""
    table = pq.read_table(file)
    place = table.schema.get_field_index("value")
    changed = table.set_column(place, table.schema.field("value"), pa.array(values))
    plainest = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(changed, file, **plainest)


def rewrite(file: Path, values: list[float]) -> None:
    """Other numbers in a file of the same size and time."""
    before = file.stat()
    put(file, values)
    os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.fixture
def young(folder: Path) -> Path:
    """A part file of just now."""
    file = folder / "runs" / "full--mini-0" / "result.parquet"
    put(file, [1.5, 2.25, 3.125, 4.75])
    return file


def test_a_file_written_twice_in_a_tick_is_read_again(folder: Path, young: Path) -> None:
    read_results(folder)
    rewrite(young, [4.75, 3.125, 2.25, 1.5])
    assert read_results(folder).set_index(["key", "task"])["value"]["full--mini-0", "coco"] == 1.5


def test_an_old_file_of_the_same_size_and_time_is_not_read_again(folder: Path, young: Path) -> None:
    os.utime(young, (OLD, OLD))
    read_results(folder)
    rewrite(young, [4.75, 3.125, 2.25, 1.5])
    assert read_results(folder).set_index(["key", "task"])["value"]["full--mini-0", "coco"] == 4.75


def test_a_file_written_while_a_slow_read_goes_on_is_read_again(
    folder: Path, young: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time_ns()
    monkeypatch.setattr("vlbench.leaderboard.results.time.time_ns", lambda: clock)
    whole = reading._read_part

    def slow(file: Path) -> pa.Table:
        nonlocal clock
        rows = whole(file)
        clock += 10_000_000_000 * (file == young)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(reading, "_read_part", slow)
        read_results(folder)
    rewrite(young, [4.75, 3.125, 2.25, 1.5])
    assert read_results(folder).set_index(["key", "task"])["value"]["full--mini-0", "coco"] == 1.5


def test_a_run_that_goes_while_results_are_read_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reading._load_index

    def load(place: Path) -> object:
        (place / "runs" / "full--mini-0" / "result.parquet").unlink()
        return whole(place)

    monkeypatch.setattr(reading, "_load_index", load)
    with pytest.raises(DataError, match=r"full--mini-0.*It has gone"):
        read_results(folder)


def test_an_index_of_another_version_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = read_results(folder)
    monkeypatch.setattr(reading, "INDEX_VERSION", reading.INDEX_VERSION + 1)
    assert reading._load_index(folder) == {}
    pd.testing.assert_frame_equal(read_results(folder), plain)


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
