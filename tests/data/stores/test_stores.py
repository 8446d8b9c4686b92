"""What holds of every layout that features are published in, and of several stores together."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from vlbench.data.stores.base import Union
from vlbench.data.stores.own import FeatureStore, raise_open_files, write_store
from vlbench.data.stores.published import Hdf5, Npz, Parquet, open_store
from vlbench.errors import DataError, MissingError

Features = Mapping[str, np.ndarray]


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    """Ids as datasets have them -> (4, 6) float16."""
    values = np.random.default_rng(0).standard_normal((5, 4, 6)).astype(np.float16)
    names = ("COCO_val2014_000000000042", "n161313", "-e_1x", "Café_s01e01", "2354786")
    return dict(zip(names, values, strict=True))


def own(path: Path, features: Features) -> Path:
    shards = (({"ids": [image]}, values[None]) for image, values in features.items())
    return write_store(path, shards, {"name": "fake"}).path


def own_splits(path: Path, features: Features) -> Path:
    """A store for train, one for val."""
    ids = list(features)
    own(path / "train", {image: features[image] for image in ids[::2]})
    own(path / "val", {image: features[image] for image in ids[1::2]})
    return path


def hdf5_pictures(path: Path, features: Features) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for image, values in features.items():
        with h5py.File(path / f"{image}.h5", "w") as file:
            file[f"{image}/features"] = values
    return path


def hdf5_split(path: Path, features: Features) -> Path:
    """With boxes and sizes beside the features, as in VL-T5."""
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        for image, values in features.items():
            file[f"{image}/features"] = values
            file[f"{image}/boxes"] = np.zeros((len(values), 4), np.float32)
            file[f"{image}/img_w"] = 640
    return path


def parquet_shards(
    path: Path,
    features: Features,
    column: str = "id",
    kind: str = "fixed",
    shape: tuple[int, ...] | None = None,
) -> Path:
    """Shards of three pictures; lists of fixed size, lists, or nested lists."""
    path.mkdir(parents=True, exist_ok=True)
    ids = list(features)
    for shard, at in enumerate(range(0, len(ids), 3)):
        some = ids[at : at + 3]
        table = pa.table({column: some, "features": _lists([features[i] for i in some], kind)})
        sizes = next(iter(features.values())).shape if shape is None else shape
        metadata = dict(zip(("tokens", "width"), map(str, sizes), strict=False))
        table = table.replace_schema_metadata(metadata)
        parquet.write_table(table, path / f"part-{shard:03}.parquet", row_group_size=2)
    return path


def _lists(values: list[np.ndarray], kind: str) -> pa.Array:
    flat = pa.array(np.concatenate([array.reshape(-1) for array in values]))
    tokens, width = values[0].shape
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, tokens * width)
    if kind == "list":
        ends = np.arange(len(values) + 1) * tokens * width
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
    ends = np.arange(len(values) + 1) * tokens
    inner = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner)


def npz(path: Path, features: Features) -> Path:
    """With the second array that HERO's extractor leaves in its archives."""
    path.mkdir(parents=True, exist_ok=True)
    for clip, values in features.items():
        np.savez(path / f"{clip}.npz", features=values, other=np.array(True))
    return path


LAYOUTS = {
    own: FeatureStore,
    own_splits: Union,
    hdf5_pictures: Hdf5,
    hdf5_split: Hdf5,
    parquet_shards: Parquet,
    npz: Npz,
}
all_layouts = pytest.mark.parametrize("write", LAYOUTS)


@all_layouts
def test_features_come_back_as_they_were_and_no_file_stays_open(write, features, tmp_path) -> None:
    store = open_store(write(tmp_path / "store", features))
    is_own = write in (own, own_splits)
    assert type(store) is LAYOUTS[write] and store.width == 6
    assert store.encoder == ("fake" if is_own else None)
    ids = [*reversed(features), "n161313"]
    array = store.get(ids)
    assert array.dtype == np.float16
    assert np.array_equal(array, np.stack([features[image] for image in ids]))
    before = len(os.listdir("/proc/self/fd"))
    array[:] = 0
    assert np.array_equal(store.load("n161313"), features["n161313"])
    assert np.array_equal(store.get(ids)[-1], features["n161313"])
    assert len(os.listdir("/proc/self/fd")) == before
    assert store.missing(["zz", "n161313", "aa", "zz"]) == ["zz", "aa"]
    with pytest.raises(DataError, match="no features of zz, aa"):
        store.get(["n161313", "zz", "aa"])
    wide = {image: values.astype(np.float32) + 1e-5 for image, values in features.items()}
    array = open_store(write(tmp_path / "wide", wide)).load("n161313")
    assert array.dtype == np.float32
    assert np.array_equal(array, wide["n161313"])


@all_layouts
def test_the_fingerprint_depends_on_ids_and_values_and_not_on_the_path(
    write, features, tmp_path
) -> None:
    def print_of(name, values, ids) -> str:
        return open_store(write(tmp_path / name, values)).fingerprint(ids)

    known = {own: "a8d736a3c21c3dbf", own_splits: "714f6f08cdc5ce31"}  # of stored runs
    ids = ["n161313", "2354786"]
    first = print_of("one", features, ids)
    assert print_of("one", features, features)[:16] == known.get(write, "ad99f608ab5b9b90")
    assert first == print_of("two", features, [*reversed(ids), "n161313"])
    assert first != print_of("three", features, ids[:1])
    if write not in (own, own_splits):  # ours hash the pictures
        changed = {**features, "2354786": features["2354786"] + 1}
        assert first != print_of("four", changed, ids)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda v: v[0], r"should be .* \(tokens, 6\), found float16 \(6,\)"),
        (lambda v: v[:0], r"found float16 \(0, 6\)"),
        (lambda v: v[:, :5], r"found float16 \(4, 5\)"),
        (lambda v: v * np.float16("inf"), "not finite"),
        (lambda v: v.astype(np.int16), "found int16"),
    ],
)
@pytest.mark.parametrize("write", [hdf5_pictures, hdf5_split, npz])
def test_an_array_that_does_not_fit_is_refused_with_file_and_id(
    write, spoil, fault, features, tmp_path
) -> None:
    path = write(tmp_path / "store", {**features, "n161313": spoil(features["n161313"])})
    store = open_store(path)
    store.load("2354786")
    with pytest.raises(DataError, match=fault) as caught:
        store.load("n161313")
    assert str(path) in str(caught.value) and "n161313" in str(caught.value)


def test_a_folder_of_hdf5_splits_is_one_store_and_one_picture_is_no_split(
    features, tmp_path
) -> None:
    ids = list(features)
    (tmp_path / "s").mkdir()
    hdf5_split(tmp_path / "s" / "train_obj36", {image: features[image] for image in ids[:2]})
    hdf5_split(tmp_path / "s" / "val_obj36", {image: features[image] for image in ids[2:]})
    store = open_store(tmp_path / "s")
    assert type(store) is Union and store.missing([*ids, "x"]) == ["x"]
    single = open_store(hdf5_pictures(tmp_path / "t", {ids[0]: features[ids[0]]}))
    assert list(single.ids) == ids[:1] and single.path == tmp_path / "t"


def test_what_is_no_store_is_told_with_what_was_looked_for(features, tmp_path, monkeypatch) -> None:
    for make in ("exists", "mkdir"):
        getattr(tmp_path / "s", make)()
        with pytest.raises(MissingError, match=r"no feature store; looked for index\.jsonl .*npz"):
            open_store(tmp_path / "s")
    path = hdf5_pictures(tmp_path / "t", features)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingError, match=r"pip install 'vlbench\[hdf5\]'"):
        open_store(path)


VALUES = np.arange(24, dtype=np.float16).reshape(4, 3, 2) / 8


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    shards = [({"ids": ["a", "b"]}, VALUES[:2]), ({"ids": ["c", "d"]}, VALUES[2:])]
    return write_store(tmp_path / "store", shards)


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("index.jsonl", lambda text: text.replace(b"features/2", b"other/1"), "not of the schema"),
        ("index.jsonl", lambda text: text.replace(b'"shard"', b'"part"'), "damaged: 'shard'"),
        ("index.jsonl", lambda text: text[:-5], "is begun"),
        ("index.jsonl", lambda text: b"", "damaged: .* Delete the store"),
        ("000001.npy", lambda text: text[:-5], "000001.npy: damaged: .*Delete it: it is made"),
        ("000001.npy", lambda text: text.replace(b"(2, 3, 2)", b"(2, 2, 3)"), "damaged: holds"),
        ("000001.npy", lambda text: b"", "000001.npy: damaged"),
    ],
)
def test_a_damaged_store_is_refused(store, name, change, fault) -> None:
    file = store.path / name
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(MissingError, match=fault):
        open_store(store.path).load("d")
    file.unlink()
    with pytest.raises(MissingError, match=r"is begun|index.jsonl is missing"):
        FeatureStore(store.path)


def test_lists_of_every_kind_are_read(features, tmp_path) -> None:
    kinds = [("fixed", "img_id"), ("list", "image_id"), ("nested", "id")]
    for kind, column in kinds:
        folder = parquet_shards(tmp_path / kind, features, column, kind)
        store = open_store(folder)
        assert np.array_equal(store.get(list(features)), np.stack(list(features.values())))
        first, _ = sorted(folder.iterdir())  # a single file is a store
        assert open_store(first).missing(features) == ["Café_s01e01", "2354786"]
    grid = np.random.default_rng(0).random((49, 2048)).astype(np.float16)
    store = open_store(parquet_shards(tmp_path / "s", {"a": grid}, shape=()))
    assert np.array_equal(store.load("a"), grid)  # without a shape


def test_parquet_that_does_not_fit_is_refused(features, tmp_path) -> None:
    path = parquet_shards(tmp_path / "a", features, shape=(7, 7))
    with pytest.raises(DataError, match=r"\[7, 7\] expected, found lists of \[24\]"):
        open_store(path)
    path = parquet_shards(tmp_path / "b", features, column="picture")
    with pytest.raises(DataError, match=r"columns id or .* found picture, features"):
        open_store(path)


def test_of_several_stores_the_first_that_has_an_id_gives_its_features(features, tmp_path) -> None:
    exact = features["n161313"].astype(np.float32) + 1e-6
    others = {**{image: -values for image, values in features.items()}, "new": exact}
    first, second = (
        open_store(own(tmp_path / "a", features)),
        open_store(npz(tmp_path / "b", others)),
    )
    union = Union([first, second])
    assert np.array_equal(union.load("2354786"), features["2354786"])
    assert union.missing(["new", "x", "2354786"]) == ["x"] and union.encoder == "fake"
    for ids in (["new"], ["2354786", "new", "n161313", "new", "2354786"], ["2354786"] * 2):
        assert np.array_equal(union.get(ids), np.stack([union.load(image) for image in ids]))
    together = union.get(["n161313", "new"])
    assert together.dtype == np.float32 and np.array_equal(together[1], exact)
    # a store that nothing is read from does not change the fingerprint
    assert union.fingerprint(features) == first.fingerprint(features)
    assert union.fingerprint([*features, "new"]) != first.fingerprint(features)


def test_stores_that_do_not_agree_are_refused(features, tmp_path) -> None:
    narrow = {image: values[:, :3] for image, values in features.items()}
    stores = [open_store(own(tmp_path / "a", features)), open_store(npz(tmp_path / "b", narrow))]
    with pytest.raises(DataError, match=r"features of width 3, .* of 6"):
        Union(stores)
    short = open_store(npz(tmp_path / "c", {"short": features["n161313"][:2]}))
    with pytest.raises(DataError, match=r"of short are \(2, 6\), those of n161313 \(4, 6\)"):
        Union([stores[0], short]).get(["n161313", "short"])


def test_a_store_keeps_no_more_files_open_than_the_system_allows(
    features, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    path = own(tmp_path / "store", features)
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: None)
    monkeypatch.setattr(resource, "getrlimit", lambda what: (16, 16))
    store = FeatureStore(path)
    for image, values in [*features.items()] * 2:
        assert np.array_equal(store.load(image), values)
        assert len(store._shards) <= 16 // 8
    monkeypatch.undo()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limit


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [((1024, 4096), 4096), ((1024, 1 << 20), 1 << 16), ((1024, resource.RLIM_INFINITY), 1 << 16)],
)
def test_a_process_may_open_what_the_system_allows(
    allowed: tuple[int, int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [allowed]
    monkeypatch.setattr(resource, "getrlimit", lambda what: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda what, given: limits.append(given))
    assert raise_open_files() == expected
    assert raise_open_files() == expected and limits[1:] == [(expected, allowed[1])]
