from __future__ import annotations

import sys

import pytest

from tests.data.stores.formats import FORMATS, hdf5_pictures, hdf5_split, own
from vlbench.data.stores.base import Union
from vlbench.data.stores.own import FeatureStore
from vlbench.data.stores.published import Hdf5Pictures, Hdf5Split, Npz, Parquet, open_store
from vlbench.errors import MissingError

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
