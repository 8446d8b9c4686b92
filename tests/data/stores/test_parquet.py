from __future__ import annotations

import numpy as np
import pytest

from tests.data.stores.formats import parquet_shards
from vlbench.data.stores.published import open_store
from vlbench.errors import DataError


@pytest.mark.parametrize("kind", ["fixed", "list", "nested"])
@pytest.mark.parametrize("column", ["id", "image_id", "img_id"])
def test_lists_of_every_kind_are_read(kind, column, features, tmp_path) -> None:
    store = open_store(parquet_shards(tmp_path / "s", features, column, kind))
    assert np.array_equal(store.get(list(features)), np.stack(list(features.values())))


def test_a_single_file_is_a_store(features, tmp_path) -> None:
    folder = parquet_shards(tmp_path / "s", features)
    first, _ = sorted(folder.iterdir())
    assert open_store(first).missing(features) == ["Café_s01e01", "2354786"]


def test_a_row_without_a_shape_is_a_grid_of_49_by_2048(tmp_path) -> None:
    grid = np.random.default_rng(0).random((49, 2048)).astype(np.float16)
    store = open_store(parquet_shards(tmp_path / "s", {"a": grid}, shape=()))
    assert np.array_equal(store.read("a"), grid)


def test_a_row_that_does_not_fit_its_shape_is_refused(features, tmp_path) -> None:
    path = parquet_shards(tmp_path / "s", features, shape=(7, 7))
    with pytest.raises(DataError, match=r"should hold 7 x 7 values, found lists of \[24\]"):
        open_store(path)


def test_rows_of_different_lengths_are_refused(features, tmp_path) -> None:
    import pyarrow as pa
    from pyarrow import parquet as pq

    rows, kind = [[[1.0] * 3], [[1.0] * 3] * 2], pa.list_(pa.list_(pa.float32()))
    table = pa.table({"id": ["a", "b"], "features": pa.array(rows, kind)})
    (tmp_path / "s").mkdir()
    pq.write_table(table, tmp_path / "s" / "x.parquet")
    with pytest.raises(DataError, match="should be as long as each other"):
        open_store(tmp_path / "s").read("a")


def test_columns_of_other_names_are_told(features, tmp_path) -> None:
    path = parquet_shards(tmp_path / "s", features, column="picture")
    with pytest.raises(DataError, match=r"columns id or .* found picture, features"):
        open_store(path)


def test_an_id_in_two_shards_is_refused(features, tmp_path) -> None:
    path = parquet_shards(tmp_path / "s", features)
    (path / "part-000.parquet").rename(path / "part-009.parquet")
    parquet_shards(path, dict(list(features.items())[:1]))
    with pytest.raises(DataError, match="COCO_val2014_000000000042: stands twice"):
        open_store(path)


def test_a_shard_is_unpacked_once_and_again_when_it_changes(features, tmp_path, cache) -> None:
    path = parquet_shards(tmp_path / "s", features)
    store = open_store(path)
    assert not (cache / "parquet").exists()
    told: list[str] = []
    store.prepare(told.append)
    assert [line.partition(": ")[2] for line in told] == [
        "unpacking into the cache, shard 1 of 2",
        "unpacking into the cache, shard 2 of 2",
    ]
    open_store(path).prepare(told.append)
    assert len(told) == len(list((cache / "parquet").iterdir())) == 2
    turned = {image: -values for image, values in features.items()}
    parquet_shards(path, turned)
    store = open_store(path)
    store.prepare(told.append)
    assert len(told) == 4
    assert np.array_equal(store.get(list(features)), -np.stack(list(features.values())))


def test_row_groups_of_different_shapes_are_refused(features, tmp_path) -> None:
    import pyarrow as pa
    from pyarrow import parquet as pq

    rows = [[[1.0] * 3] * 2, [[1.0] * 3]]
    table = pa.table(
        {"id": ["a", "b"], "features": pa.array(rows, pa.list_(pa.list_(pa.float32())))}
    )
    (tmp_path / "s").mkdir()
    pq.write_table(table, tmp_path / "s" / "x.parquet", row_group_size=1)
    store = open_store(tmp_path / "s")
    with pytest.raises(DataError, match=r"row group 1: rows of \(1, 3\) behind \(2, 3\)"):
        store.read("a")
