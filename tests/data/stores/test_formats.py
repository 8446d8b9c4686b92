"""What holds of every layout."""

from __future__ import annotations

import os
import pickle
from multiprocessing import get_context

import numpy as np
import pytest

from tests.data.stores.formats import FORMATS
from vlbench.data.stores.published import PublishedStore, open_store
from vlbench.errors import DataError


@pytest.fixture(params=FORMATS)
def layout(request):
    if request.param.startswith("hdf5"):
        pytest.importorskip("h5py")
    return request.param


@pytest.fixture
def path(layout, features, tmp_path):
    return FORMATS[layout](tmp_path / "store", features)


def test_features_come_back_as_they_were(path, features) -> None:
    store = open_store(path)
    ids = [*reversed(features), "n161313"]
    got = store.get(ids)
    assert got.dtype == np.float16 and store.width == 6
    assert np.array_equal(got, np.stack([features[image] for image in ids]))
    got[:] = 0
    assert np.array_equal(store.read("n161313"), features["n161313"])


def test_float32_stays_float32(layout, features, tmp_path) -> None:
    wide = {image: values.astype(np.float32) + 1e-5 for image, values in features.items()}
    store = open_store(FORMATS[layout](tmp_path / "store", wide))
    expected = np.float16 if layout.startswith("own") else np.float32
    assert store.read("n161313").dtype == expected
    assert np.array_equal(store.read("n161313"), wide["n161313"].astype(expected))


def test_missing_ids_are_told_once_each_and_in_order(path) -> None:
    store = open_store(path)
    assert store.missing(["zz", "n161313", "aa", "zz"]) == ["zz", "aa"]
    with pytest.raises(DataError, match=r"no features of .*zz"):
        store.get(["n161313", "zz"])


def test_a_pickled_store_is_small_and_reads_the_same(path, features) -> None:
    store = open_store(path)
    store.read("n161313")
    data = pickle.dumps(store)
    assert len(data) < 2000
    assert np.array_equal(pickle.loads(data).read("2354786"), features["2354786"])


def test_two_forks_read_what_their_parent_reads(path, features) -> None:
    store = open_store(path)
    store.read("n161313")
    context = get_context("fork")
    queue = context.SimpleQueue()
    ids = list(features) * 20

    def work() -> None:
        queue.put(store.get(ids).tobytes())

    started = [context.Process(target=work) for _ in range(2)]
    for process in started:
        process.start()
    expected = np.stack([features[image] for image in ids]).tobytes()
    assert store.get(ids).tobytes() == expected
    assert [queue.get(), queue.get()] == [expected, expected]
    for process in started:
        process.join(10)
        assert process.exitcode == 0


def test_reading_leaves_no_file_open(path, features) -> None:
    store = open_store(path)
    store.get(list(features))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        store.get(list(features))
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_fingerprint_depends_on_ids_and_values_and_not_on_the_place(
    layout, features, tmp_path
) -> None:
    def print_of(name, values, ids) -> str:
        return open_store(FORMATS[layout](tmp_path / name, values)).fingerprint(ids)

    ids = ["n161313", "2354786"]
    first = print_of("one", features, ids)
    assert first == print_of("two", features, [*reversed(ids), "n161313"])
    assert first != print_of("three", features, ids[:1])
    if not layout.startswith("own"):  # ours hash the pictures
        changed = {**features, "2354786": features["2354786"] + 1}
        assert first != print_of("four", changed, ids)


def test_the_fingerprint_reads_a_sample_only(features, tmp_path, monkeypatch) -> None:
    many = {f"v{n}": features["n161313"] for n in range(100)}
    store = open_store(FORMATS["npz"](tmp_path / "many", many))
    read = []
    monkeypatch.setattr(
        type(store), "read", lambda self, each: read.append(each) or PublishedStore.read(self, each)
    )
    store.fingerprint(many)
    assert len(read) == len(set(read)) == 64


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda v: v[0], r"should be \(tokens, width\), found \(6,\)"),
        (lambda v: v[:0], r"should be \(tokens, width\), found \(0, 6\)"),
        (lambda v: v[:, :5], "has width 5, the others have 6"),
        (lambda v: v * np.float16("inf"), "not finite"),
        (lambda v: v.astype(np.int16), "found int16"),
    ],
)
@pytest.mark.parametrize("layout", ["hdf5_pictures", "hdf5_split", "npz"])
def test_an_array_that_is_none_is_refused_with_file_and_id(
    layout, spoil, told, features, tmp_path
) -> None:
    if layout != "npz":
        pytest.importorskip("h5py")
    spoilt = {**features, "n161313": spoil(features["n161313"])}
    path = FORMATS[layout](tmp_path / "store", spoilt)
    store = open_store(path)
    store.read("2354786")
    with pytest.raises(DataError, match=told) as caught:
        store.read("n161313")
    assert str(path) in str(caught.value) and "n161313" in str(caught.value)


@pytest.mark.parametrize("layout", ["hdf5_pictures", "npz"])
@pytest.mark.parametrize("bytes_left", [0, 100, 600])
def test_a_truncated_file_is_refused_with_file_and_id(
    layout, bytes_left, features, tmp_path
) -> None:
    if layout != "npz":
        pytest.importorskip("h5py")
    path = FORMATS[layout](tmp_path / "store", features)
    store = open_store(path)
    [file] = path.glob("n161313.*")
    os.truncate(file, min(bytes_left, file.stat().st_size - 1))
    with pytest.raises(DataError, match="n161313"):
        store.read("n161313")
    assert store.missing(["n161313"]) == []


@pytest.mark.parametrize("layout", ["hdf5_split", "parquet"])
def test_a_truncated_store_is_refused_with_its_file(layout, features, tmp_path) -> None:
    if layout == "hdf5_split":
        pytest.importorskip("h5py")
    path = FORMATS[layout](tmp_path / "store", features)
    file = path if path.is_file() else min(path.iterdir())
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(DataError, match=f"{file.name}: not a readable"):
        open_store(path)
