"""Layouts that others publish features in; nothing in them is trusted, every array is checked.

- `{id}.h5`, one HDF5 file per picture with the dataset `{id}/features`, as VL-Adapter has them;
- one HDF5 file per split with a dataset `{id}/features` per picture, as VL-T5 has them;
- `*.parquet`, a row per picture: its id, and `features`, tokens x width values, flat or nested;
  `tokens` and `width` in the schema's metadata give the shape of a flat row;
- `{clip}.npz` with the array `features`, (frames, width), as VALUE has them.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vlbench.data.stores.base import Array, Store, Union
from vlbench.data.stores.own import INDEX, FeatureStore, write_store
from vlbench.errors import DataError, MissingError
from vlbench.files import cache_folder, writing_cache
from vlbench.lock import Lock

FINGERPRINTED = 64
"""Features whose bytes go into a fingerprint: hashing 45 GB at each start would hurt."""
NAMED = "features"  # what every published layout calls the array
HDF5, PARQUET, NPZ = (".h5", ".hdf5"), ".parquet", ".npz"
BROKEN_HDF5 = (OSError, RuntimeError, KeyError, ValueError)
BROKEN_NPZ = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What h5py and NumPy raise for truncated and damaged files, pickles, and missing arrays."""
ID_COLUMNS = ("id", "image_id", "img_id")
PARQUET_SHAPE = {b"tokens": 49, b"width": 2048}
"""Of a row whose schema does not give it: the 7 x 7 grid of CLIP RN101."""
LOOKED_FOR = (
    f"{INDEX} (our own, here or in a folder per split), {{id}}.h5 or one .h5 per split, *.parquet, "
    "{clip}.npz"
)


def open_store(path: Path) -> Store:
    """The store at `path`, whose files tell its layout; MissingError if vlbench knows none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    suffixes = {file.suffix for file in files}
    if (path / INDEX).is_file():
        return FeatureStore(path)
    if PARQUET in suffixes:
        return Parquet(path)
    if NPZ in suffixes and path.is_dir():
        return Npz(path)
    stores: list[Store] = [FeatureStore(index.parent) for index in sorted(path.glob(f"*/{INDEX}"))]
    if splits := [file for file in files if file.suffix in HDF5]:
        with _open_hdf5(splits[0]) as file:  # a picture's file holds one group of the file's name
            is_picture = path.is_dir() and list(file) == [splits[0].stem]
        stores = [Hdf5(path)] if is_picture else [Hdf5(split) for split in splits]
    if not stores:
        raise MissingError(f"{path}: no feature store; looked for {LOOKED_FOR}.")
    return stores[0] if stores[0].path == path else Union(stores)


class PublishedStore(Store):
    """One array per id, float16 or float32, of one width; the ids are known at opening."""

    def __init__(self, path: Path, ids: Mapping[str, Any]) -> None:
        self.path, self.ids, self.width = path, ids, 0
        if not ids:
            raise MissingError(f"{path}: a feature store without a single feature")
        self.width = self.load(min(ids)).shape[1]

    @abstractmethod
    def stored(self, image: str) -> Array:
        """The array of a known id as it is stored; DataError where it is damaged."""

    def load(self, image: str) -> Array:
        features = self.stored(image)
        is_array = features.dtype in (np.float16, np.float32) and features.ndim == 2
        if not (is_array and features.size and self.width in (0, features.shape[1])):
            expected = f"float16 or float32 (tokens, {self.width or 'width'})"
            found = f"{features.dtype} {features.shape}"
            raise DataError(f"{self.path}: {image}: should be {expected}, found {found}")
        if not np.isfinite(features).all():
            raise DataError(f"{self.path}: {image}: features are not finite")
        return features

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over all ids, and over shape, type and bytes of up to 64 features.

        A sample: those with the smallest hashes of their ids, the same on every machine.
        """
        names = sorted(set(ids))
        sample = sorted(names, key=lambda image: (_hash(image.encode()), image))[:FINGERPRINTED]
        lines = [f"{image}\n" for image in names]
        for image in sample:
            array = self.load(image)
            values = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
            lines.append(f"{image} {array.shape} {array.dtype.name} {_hash(values.tobytes())}\n")
        return _hash("".join(lines).encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Npz(PublishedStore):
    """A folder of one archive per clip, of any number of frames."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, {file.stem: file for file in path.iterdir() if file.suffix == NPZ})

    def stored(self, image: str) -> Array:
        try:  # NumPy would leave a broken file open if given its path
            with self.ids[image].open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return np.asarray(archive[NAMED])
        except BROKEN_NPZ as error:
            raise DataError(f"{self.ids[image]}: {image}: no readable '{NAMED}': {error}") from None


class Hdf5(PublishedStore):
    """A folder of a file per picture, opened one by one; or one file of many, which stays open."""

    def __init__(self, path: Path) -> None:
        self._file = None if path.is_dir() else _open_hdf5(path)
        in_folder = () if self._file else path.iterdir()
        ids = {file.stem: file for file in in_folder if file.suffix in HDF5}
        super().__init__(path, dict.fromkeys(self._file, path) if self._file else ids)

    def stored(self, image: str) -> Array:
        path = self.ids[image]
        with nullcontext(self._file) if self._file else _open_hdf5(path) as file:
            try:
                return np.asarray(file[f"{image}/{NAMED}"][()])
            except BROKEN_HDF5 as error:
                raise DataError(f"{path}: no readable '{image}/{NAMED}': {error}") from None


def _open_hdf5(path: Path) -> Any:
    """The file, read only; locking fails on some network file systems and is not needed."""
    try:
        return import_module("h5py").File(path, "r", locking=False)
    except ImportError:
        raise MissingError(
            "Reading HDF5 features needs h5py, which is missing: pip install 'vlbench[hdf5]'"
        ) from None
    except BROKEN_HDF5 as error:
        raise DataError(f"{path}: not a readable HDF5 file: {error}") from None


class Parquet(PublishedStore):
    """Shards, a row per picture: far too slow for random rows, so unpacked into the cache once."""

    def __init__(self, path: Path) -> None:
        files = sorted(path.glob(f"*{PARQUET}")) if path.is_dir() else [path]
        stamps = [(str(f.absolute()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        folder = cache_folder() / "parquet" / _hash(repr(stamps).encode())[:32]
        with writing_cache():
            folder.mkdir(parents=True, exist_ok=True)
            with Lock(folder).acquire(waiting=lambda: None):
                try:
                    self._unpacked = FeatureStore(folder)
                except MissingError:
                    self._unpacked = write_store(folder, map(_parquet_shard, files))
        super().__init__(path, self._unpacked.ids)

    def stored(self, image: str) -> Array:
        return self._unpacked.load(image)


def _parquet_shard(file: Path) -> tuple[dict[str, list[str]], Array]:
    """Ids and (rows, tokens, width) of a shard whose features are nested lists or flat ones."""
    from pyarrow import compute, parquet

    try:
        table = parquet.read_table(file, partitioning=None)
        names = [name for name in ID_COLUMNS if name in table.column_names]
        if not names or NAMED not in table.column_names:
            known = f"{' or '.join(ID_COLUMNS)}, and {NAMED}"
            raise ValueError(f"columns {known} expected, found {', '.join(table.column_names)}")
        given = table.schema.metadata or {}
        shape = [int(given.get(key, size)) for key, size in PARQUET_SHAPE.items()]
        column, lengths = table[NAMED].combine_chunks(), []
        while column.type.num_fields:
            lengths += compute.list_value_length(column).unique().to_pylist()
            column = column.flatten()
        if len(lengths) == 2:
            shape = lengths
        if np.prod(lengths) != np.prod(shape):
            raise ValueError(f"{shape} expected, found lists of {lengths}")
        ids = list(map(str, table[names[0]].to_pylist()))
        return {"ids": ids}, column.to_numpy(zero_copy_only=False).reshape(len(ids), *shape)
    except (OSError, ValueError, TypeError) as error:  # ArrowInvalid is a ValueError
        what = "no readable Parquet file with tokens x width numbers a row"
        raise DataError(f"{file}: {what}: {error}") from None
