"""Parquet is decoded within a budget of rows and bytes that no file can raise."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.builders import image_text, write
from vlbench import parquet
from vlbench.errors import DataError
from vlbench.leaderboard.examples import read_scores
from vlbench.leaderboard.results import read_results
from vlbench.parquet import decode, open_parquet
from vlbench.verify.inputs import ANSWERS, read_answers, read_rows

ROW = {"id": "1", "family": "", "images": ["a"], "text": "", "prediction": "no"}
ROW |= {"references": '"no"', "score": 1.0}


def repeated(file: Path, count: int, **changes: object) -> Path:
    """The same row so many times."""
    table = pa.Table.from_pylist([{**ROW, **changes}], schema=ANSWERS)
    pq.write_table(table.take(pa.array([0] * count)), file, compression="zstd")
    return file


@pytest.mark.parametrize("changes", [{"text": "w" * 5_000}, {"images": ["w" * 2_500] * 2}])
def test_a_long_text_that_is_repeated_is_not_written_out(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    file = repeated(tmp_path / "a.parquet", 1_000, **changes)
    many = pa.concat_tables([pq.read_table(file)] * 200)
    pq.write_table(many, file, compression="zstd")
    assert file.stat().st_size < 200_000
    before = pa.total_allocated_bytes()
    del many
    with pytest.raises(DataError, match="536,870,912 bytes at the most, and it unpacks to more"):
        read_answers(file)
    assert pa.total_allocated_bytes() <= before


def test_rows_lists_and_columns_without_end_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.parquet"
    with pytest.raises(DataError, match="1,500,000 rows or values in them, 1,000,000 at the most"):
        read_scores(repeated(file, 1_500_000), {})
    pq.write_table(pa.table({f"c{n}": [1] for n in range(2_000)}), file)
    with pytest.raises(DataError, match="2,000 columns, 1 groups of rows, 1,000 at the most"):
        read_answers(file)
    monkeypatch.setattr(parquet, "MOST_VALUES", 1_000)
    with pytest.raises(DataError, match="2,000 rows or values in them"):
        read_answers(repeated(file, 1, images=["a"] * 2_000))


def test_a_result_of_many_equal_rows_is_refused_by_every_reader(tmp_path: Path) -> None:
    write(tmp_path, image_text("full", 1, 2, 3, 4))
    (file,) = tmp_path.glob("runs/*/result.parquet")
    pq.write_table(pq.read_table(file).take(pa.array([0] * 300_000)), file)
    for read in (lambda: read_results(tmp_path), lambda: read_rows(file)):
        with pytest.raises(DataError, match="300,000 rows"):
            read()


@pytest.mark.parametrize(
    "options",
    [{}, {"row_group_size": 100}, {"use_dictionary": False}, {"dictionary_pagesize_limit": 1_000}],
)
def test_what_is_within_the_budget_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    rows = [{**ROW, "id": str(n), "images": [f"a{n}", "b"][: n % 3]} for n in range(3_000)]
    table = pa.Table.from_pylist(rows, schema=ANSWERS)
    file = tmp_path / "a.parquet"
    pq.write_table(table, file, **options)
    monkeypatch.setattr(parquet, "FEW_ROWS", 0)
    assert decode(file, open_parquet(file)).equals(table)
    assert decode(file, open_parquet(file), ["id", "score"]).equals(table.select(["id", "score"]))
    assert read_answers(file) == rows


def test_scores_are_one_column_of_numbers(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    twice = pa.table({"id": ["1"], "score": [1.0]}).append_column("score", pa.array([0.0]))
    for table in (twice, pa.table({"id": ["1"], "score": ["yes"]})):
        pq.write_table(table, file)
        with pytest.raises(DataError, match="'id' string and 'score' double should be there"):
            read_scores(file, {})
