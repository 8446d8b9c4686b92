"""Open a store of whatever format: what lies there tells it."""

from __future__ import annotations

from pathlib import Path

from vlbench.data.stores import hdf5, npz, parquet
from vlbench.data.stores.base import Store
from vlbench.data.stores.hdf5_pictures import Hdf5Pictures, hdf5_files
from vlbench.data.stores.hdf5_split import Hdf5Split
from vlbench.data.stores.npz import Npz
from vlbench.data.stores.own import FeatureStore
from vlbench.data.stores.parquet import Parquet
from vlbench.data.stores.partial import partial_of
from vlbench.data.stores.union import Union
from vlbench.errors import MissingError

INDEX = "index.json"
LOOKED_FOR = (
    "index.json with features.npy (our own, here or in a folder per split), {id}.h5 or one .h5 "
    "per split, *.parquet, {clip}.npz"
)


def open_store(path: Path) -> Store:
    """The store at `path`; MissingError where there is none that vlbench knows."""
    store = _file_store(path) if path.is_file() else _folder_store(path)
    if store is None:
        raise MissingError(f"{path}: no feature store; looked for {LOOKED_FOR}.{_hint(path)}")
    return store


def _file_store(path: Path) -> Store | None:
    if path.suffix in hdf5.SUFFIXES:
        return Hdf5Split(path)
    return Parquet(path) if path.suffix == parquet.SUFFIX else None


def _folder_store(path: Path) -> Store | None:
    if not path.is_dir():
        return None
    if (path / INDEX).is_file():
        return FeatureStore.open(path)
    names = {file.suffix for file in path.iterdir()}
    if parquet.SUFFIX in names:
        return Parquet(path)
    if npz.SUFFIX in names:
        return Npz(path)
    if names & set(hdf5.SUFFIXES):
        return _hdf5_store(path)
    splits = sorted(folder.parent for folder in path.glob(f"*/{INDEX}"))
    return Union([FeatureStore.open(folder) for folder in splits]) if splits else None


def _hdf5_store(path: Path) -> Store:
    """A file per picture holds one group that is called like the file; else they are splits."""
    files = hdf5_files(path)
    with hdf5.open_file(files[0]) as file:
        if list(file) == [files[0].stem]:
            return Hdf5Pictures(path)
    return Union([Hdf5Split(file) for file in files])


def _hint(path: Path) -> str:
    path = path.absolute()
    if not path.name or not (partial := partial_of(path)).is_dir():
        return ""
    return f" {partial} is begun: the same extract-features command goes on with it."
