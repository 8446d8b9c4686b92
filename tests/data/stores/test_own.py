from __future__ import annotations

import json
import os

import numpy as np
import pytest

from vlbench.data.stores.own import FeatureStore, FeatureWriter
from vlbench.errors import DataError, MissingError, RunFailed

VALUES = np.arange(24, dtype=np.float32).reshape(4, 3, 2) / 8


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    with FeatureWriter(tmp_path / "store", 3, 2) as writer:
        writer.add(["a", "b"], VALUES[:2])
        writer.add(["c", "d"], VALUES[2:])
        return writer.finish(encoder={"name": "fake"})


def test_the_file_is_a_plain_npy_file(store) -> None:
    assert np.array_equal(np.load(store.folder / "features.npy"), VALUES.astype(np.float16))


def test_missing_ids_are_told(store) -> None:
    assert store.missing(["a", "x", "y", "x"]) == ["x", "y"]
    with pytest.raises(DataError, match="no features of 2 images: x, y"):
        store.get(["a", "x", "y"])


def test_nothing_is_left_of_a_store_that_was_not_finished(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), FeatureWriter(tmp_path / "store", 3, 2) as writer:
        writer.add(["a"], VALUES[:1])
        raise KeyboardInterrupt
    assert list(tmp_path.glob("*store*")) == []


def test_the_store_that_was_complete_first_stays(store) -> None:
    with FeatureWriter(store.folder, 3, 2) as writer:
        writer.add(["z"], VALUES[:1])
        assert writer.finish().ids == store.ids
    assert [path.name for path in store.folder.parent.glob("*store*")] == ["store"]


def test_a_damaged_store_is_refused_and_replaced(store) -> None:
    path = store.folder / "features.npy"
    os.truncate(path, path.stat().st_size - 5)
    with pytest.raises(DataError, match="damaged"):
        FeatureStore.open(store.folder)
    with FeatureWriter(store.folder, 3, 2) as writer:
        writer.add(["z"], VALUES[:1])
        assert writer.finish().ids == ["z"]
    assert [path.name for path in store.folder.parent.glob("*store*")] == ["store"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": "other/1"}, "not of the schema"),
        ({"ids": ["a"]}, "the index tells float16"),
        ({"width": None}, "the index tells float16"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(store, change, told) -> None:
    path = store.folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=told):
        FeatureStore.open(store.folder)


def test_an_absent_store_is_told(tmp_path) -> None:
    with pytest.raises(MissingError, match="no feature store"):
        FeatureStore.open(tmp_path / "none")


def test_wrong_shapes_and_values_are_refused(tmp_path) -> None:
    with FeatureWriter(tmp_path / "store", 3, 2) as writer:
        with pytest.raises(RunFailed, match=r"should be \(1, 3, 2\), found \(2, 3, 2\)"):
            writer.add(["a"], VALUES[:2])
        with pytest.raises(RunFailed, match="features of b are not finite in float16"):
            writer.add(["a", "b"], np.stack([VALUES[0], VALUES[0] + 1e9]))
        writer.add(["a", "a"], VALUES[:2])
        with pytest.raises(RunFailed, match="twice"):
            writer.finish()
