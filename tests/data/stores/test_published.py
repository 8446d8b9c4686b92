"""What holds of every layout."""

from __future__ import annotations

import os
import pickle
import sys
from multiprocessing import get_context

import numpy as np
import pytest

from tests.data.stores.formats import FORMATS, hdf5_pictures, hdf5_split, npz, own, parquet_shards
from vlbench.data.stores.base import Union
from vlbench.data.stores.own import FeatureStore
from vlbench.data.stores.published import (
    Hdf5Pictures,
    Hdf5Split,
    Npz,
    Parquet,
    PublishedStore,
    open_store,
)
from vlbench.errors import DataError, MissingError


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


KINDS = {
    "own": FeatureStore,
    "own_splits": Union,
    "hdf5_pictures": Hdf5Pictures,
    "hdf5_split": Hdf5Split,
    "parquet": Parquet,
    "npz": Npz,
}


@pytest.mark.parametrize("layout", FORMATS)
def test_the_files_tell_the_format(layout, features, tmp_path) -> None:
    if layout.startswith("hdf5"):
        pytest.importorskip("h5py")
    assert type(open_store(FORMATS[layout](tmp_path / "s", features))) is KINDS[layout]


def test_a_folder_of_hdf5_splits_is_one_store(features, tmp_path) -> None:
    pytest.importorskip("h5py")
    ids = list(features)
    (tmp_path / "s").mkdir()
    hdf5_split(tmp_path / "s" / "train_obj36", {each: features[each] for each in ids[:2]})
    hdf5_split(tmp_path / "s" / "val_obj36", {each: features[each] for each in ids[2:]})
    store = open_store(tmp_path / "s")
    assert store.missing([*ids, "x"]) == ["x"]


def test_one_picture_in_one_file_is_a_store_of_pictures(features, tmp_path) -> None:
    pytest.importorskip("h5py")
    path = hdf5_pictures(tmp_path / "s", dict(list(features.items())[:1]))
    assert type(open_store(path)) is Hdf5Pictures


@pytest.mark.parametrize("make", ["mkdir", "touch", "exists"])
def test_what_is_no_store_is_told_with_what_was_looked_for(make, tmp_path) -> None:
    path = tmp_path / "s"
    getattr(path, make)()
    with pytest.raises(MissingError, match=r"no feature store; looked for index\.json .*npz"):
        open_store(path)


def test_a_store_that_is_being_made_is_told(tmp_path) -> None:
    (tmp_path / "s.partial").mkdir()
    with pytest.raises(MissingError, match=r"s\.partial is begun: the same extract-features"):
        open_store(tmp_path / "s")


def test_hdf5_without_its_library_says_how_to_get_it(features, tmp_path, monkeypatch) -> None:
    pytest.importorskip("h5py")
    path = hdf5_pictures(tmp_path / "s", features)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingError, match=r"pip install 'vlbench\[hdf5\]'"):
        open_store(path)


def test_our_own_stores_say_their_encoder_and_others_do_not(features, tmp_path) -> None:
    assert open_store(own(tmp_path / "own", features)).encoder == "fake"
    assert open_store(FORMATS["npz"](tmp_path / "npz", features)).encoder is None


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


def test_the_first_store_that_has_an_id_gives_its_features(features, tmp_path) -> None:
    other = {**{image: -values for image, values in features.items()}, "new": features["n161313"]}
    first, second = (
        open_store(own(tmp_path / "a", features)),
        open_store(npz(tmp_path / "b", other)),
    )
    union = Union([first, second])
    assert np.array_equal(union.read("2354786"), features["2354786"])
    assert np.array_equal(union.read("new"), features["n161313"])
    assert union.missing(["new", "x", "2354786"]) == ["x"]
    assert union.encoder == "fake"
    with pytest.raises(DataError, match="no features of x, nor in the other stores"):
        union.read("x")


def test_many_at_once_are_those_read_one_by_one(features, tmp_path) -> None:
    first = open_store(own(tmp_path / "a", features))
    second = open_store(npz(tmp_path / "b", {"new": -features["n161313"]}))
    union = Union([second, first])
    for ids in (["new"], ["2354786", "new", "n161313", "new", "2354786"], ["2354786"] * 2):
        together = union.get(ids)
        assert np.array_equal(together, np.stack([union.read(image) for image in ids]))


def test_float32_features_keep_their_digits_beside_float16_ones(features, tmp_path) -> None:
    exact = {"half": features["2354786"], "new": features["n161313"].astype(np.float32) + 1e-6}
    first = open_store(own(tmp_path / "a", features))
    second = open_store(npz(tmp_path / "b", exact))
    together = Union([first, second]).get(["n161313", *(["half"] * 9), "new"])
    assert together.dtype == np.float32
    assert np.array_equal(together[-1], second.read("new"))
    assert np.array_equal(together[0], features["n161313"])


def test_stores_of_different_widths_are_refused(features, tmp_path) -> None:
    narrow = {image: values[:, :3] for image, values in features.items()}
    stores = [open_store(own(tmp_path / "a", features)), open_store(npz(tmp_path / "b", narrow))]
    with pytest.raises(DataError, match=r"features of width 3, .* of 6"):
        Union(stores)


def test_a_store_that_nothing_is_read_from_does_not_change_the_fingerprint(
    features, tmp_path
) -> None:
    first = open_store(own(tmp_path / "a", features))
    second = open_store(npz(tmp_path / "b", {"new": features["n161313"]}))
    union = Union([first, second])
    assert union.fingerprint(features) == first.fingerprint(features)
    assert union.fingerprint([*features, "new"]) != first.fingerprint(features)
