"""Layouts that others publish features in; nothing in them is trusted, every array is checked.

- `{id}.h5`, one HDF5 file per picture with the dataset `{id}/features` (VL-Adapter's authors:
  `feature_extraction/coco_CLIP.py` of https://github.com/ylsung/VL_adapter);
- one HDF5 file per split with a dataset `{id}/features` per picture; boxes, sizes and object names
  beside it are ignored (`feature_extraction/tsv_to_h5.py` of https://github.com/j-min/VL-T5);
- `*.parquet`, a row per picture: its id in the column `id`, `image_id` or `img_id`, and `features`,
  tokens x width values, flat or nested; `tokens` and `width` in the schema's metadata give the
  shape of a flat row, 49 x 2048 without them;
- `{clip}.npz` with the array `features`, (frames, width), as VALUE has them. Our own features of
  clips are written like that too.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vlbench.data.stores.base import Array, Store, Union
from vlbench.data.stores.own import INDEX, FeatureStore, partial_of, write_array
from vlbench.errors import DataError, MissingError
from vlbench.files import cache_folder, write_atomically, writing_cache

FINGERPRINTED = 64
"""Features whose bytes go into a fingerprint: hashing 45 GB at each start would hurt."""
NAMED = "features"  # what every published layout calls the array
HDF5, PARQUET, NPZ = (".h5", ".hdf5"), ".parquet", ".npz"
ABOUT = "clips.json"  # names encoder and files of our own stores of clips
BROKEN_HDF5 = (OSError, RuntimeError, KeyError, ValueError)
BROKEN_NPZ = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What h5py and NumPy raise for truncated and damaged files, pickles, and missing arrays."""
ID_COLUMNS = ("id", "image_id", "img_id")
PARQUET_SHAPE = (49, 2048)  # of a row whose schema does not give it: the 7 x 7 grid of CLIP RN101
PARQUET_ROWS = 256  # rows that are decoded at a time
LOOKED_FOR = (
    "index.json with features.npy (our own, here or in a folder per split), {id}.h5 or one .h5 "
    "per split, *.parquet, {clip}.npz"
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
    if suffixes & set(HDF5):
        splits = [file for file in files if file.suffix in HDF5]
        with _open_hdf5(splits[0]) as file:  # a picture's file holds one group of the file's name
            is_picture = path.is_dir() and list(file) == [splits[0].stem]
        stores: list[Store] = [Hdf5(path)] if is_picture else [Hdf5(file) for file in splits]
    else:
        stores = [FeatureStore(index.parent) for index in sorted(path.glob(f"*/{INDEX}"))]
    if stores:
        return stores[0] if stores[0].path == path else Union(stores)
    hint = ""
    if path.absolute().name and (partial := partial_of(path.absolute())).is_dir():
        hint = f" {partial} is begun: the same extract-features command goes on with it."
    raise MissingError(f"{path}: no feature store; looked for {LOOKED_FOR}.{hint}")


class PublishedStore(Store):
    """One array per id, float16 or float32, of one width; the ids are known at opening."""

    def __init__(self, path: Path, ids: Mapping[str, Any], first: Array | None = None) -> None:
        self.path, self.ids, self.width = path, ids, 0
        if not ids:
            raise MissingError(f"{path}: a feature store without a single feature")
        self.width = (self.load(min(ids)) if first is None else first).shape[1]

    @abstractmethod
    def stored(self, image: str) -> Array:
        """The array of a known id as it is stored; DataError where it is damaged."""

    def load(self, image: str) -> Array:
        return checked(self.stored(image), f"{self.path}: {image}", self.width)

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over all ids, and over shape, type and bytes of up to 64 features.

        A sample: those with the smallest hashes of their ids, the same on every machine.
        """
        names = sorted(set(ids))
        sample = sorted(names, key=lambda image: (_hash(image.encode()), image))[:FINGERPRINTED]
        lines = [f"{image}\n" for image in names]
        for image in sample:
            array = self.read(image)
            values = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
            lines.append(f"{image} {array.shape} {array.dtype.name} {_hash(values.tobytes())}\n")
        return _hash("".join(lines).encode())


def checked(features: Array, where: str, width: int) -> Array:
    """The array, if it is (tokens, width) of finite float16 or float32; width 0: any."""
    if features.ndim != 2 or not features.size:
        raise DataError(f"{where}: should be (tokens, width), found {features.shape}")
    if features.dtype not in (np.float16, np.float32):
        raise DataError(f"{where}: should be float16 or float32, found {features.dtype}")
    if width and features.shape[1] != width:
        raise DataError(f"{where}: has width {features.shape[1]}, the others have {width}")
    if not np.isfinite(features).all():
        raise DataError(f"{where}: features are not finite")
    return features


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Npz(PublishedStore):
    """A folder of one archive per clip, of any number of frames."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, {file.stem: file for file in path.iterdir() if file.suffix == NPZ})
        try:
            self.about = dict(json.loads((path / ABOUT).read_bytes()))
        except FileNotFoundError:
            pass
        except (TypeError, ValueError) as error:
            raise DataError(f"{path / ABOUT}: cannot be read: {error}") from None

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
        ids = (
            {file.stem: file for file in path.iterdir() if file.suffix in HDF5}
            if self._file is None
            else dict.fromkeys(self._file, path)
        )
        super().__init__(path, ids)

    def stored(self, image: str) -> Array:
        path = self.ids[image]
        with nullcontext(self._file) if self._file else _open_hdf5(path) as file:
            try:
                return np.asarray(file[f"{image}/{NAMED}"][()])
            except BROKEN_HDF5 as error:
                raise DataError(
                    f"{path}: {image}: no readable '{image}/{NAMED}': {error}"
                ) from None


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
    """Shards, a row per picture. Parquet is decoded many rows at a time, far too slowly for random
    rows, so each shard is unpacked into the cache at its first reading."""

    def __init__(self, path: Path) -> None:
        self._files = sorted(path.glob(f"*{PARQUET}")) if path.is_dir() else [path]
        self._unpacked: dict[int, Array] = {}
        ids: dict[str, tuple[int, int]] = {}  # id -> shard, row
        for shard, file in enumerate(self._files):
            for row, image in enumerate(_parquet_ids(file)):
                if ids.setdefault(image, (shard, row)) != (shard, row):
                    raise DataError(f"{file}: {image}: stands twice in {path}")
        first = next(_parquet_rows(self._files[0], 1))[0]  # without unpacking the others
        super().__init__(path, ids, checked(first, f"{self._files[0]}: row 0", 0))

    def prepare(self, say: Callable[[str], None]) -> None:
        """Unpack what is not in the cache yet."""
        for shard in sorted({shard for shard, _ in self.ids.values()}):
            file = self._files[shard]
            if not _unpacked_file(file).is_file():
                say(f"{file}: unpacking into the cache, shard {shard + 1} of {len(self._files)}")
                self._shard(shard)

    def stored(self, image: str) -> Array:
        shard, row = self.ids[image]
        return np.array(self._shard(shard)[row])

    def _shard(self, shard: int) -> Array:
        """All rows of a shard, (rows, tokens, width), mapped into memory."""
        if shard not in self._unpacked:
            file = self._files[shard]
            unpacked = _unpacked_file(file)
            if not unpacked.is_file():
                rows = _parquet_rows(file, PARQUET_ROWS)
                with writing_cache():
                    write_atomically(unpacked, lambda path: write_array(path, rows))
            self._unpacked[shard] = np.load(unpacked, mmap_mode="r").view(np.ndarray)
        return self._unpacked[shard]


def _unpacked_file(file: Path) -> Path:
    """Where in the cache the rows of a shard of this path, size and time lie."""
    status = file.stat()
    key = f"{file.absolute()}\n{status.st_size}\n{status.st_mtime_ns}"
    return cache_folder() / "parquet" / f"{_hash(key.encode())[:32]}.npy"


@contextmanager
def _open_parquet(file: Path) -> Iterator[Any]:
    from pyarrow import ArrowException, parquet

    try:
        yield parquet.ParquetFile(file, memory_map=True)
    except (OSError, ArrowException) as error:
        raise DataError(f"{file}: not a readable Parquet file: {error}") from None


def _parquet_ids(file: Path) -> list[str]:
    """The ids of a shard's rows, in order."""
    with _open_parquet(file) as opened:
        names = opened.schema_arrow.names
        column = next((name for name in ID_COLUMNS if name in names), None)
        if column is None or NAMED not in names:
            raise DataError(
                f"{file}: should have the columns {' or '.join(ID_COLUMNS)}, and {NAMED}; found "
                f"{', '.join(names)}"
            )
        return list(map(str, opened.read([column])[column].to_pylist()))


def _parquet_rows(file: Path, size: int) -> Iterator[Array]:
    """The features of a shard, (rows, tokens, width), at most `size` rows at a time."""
    shape = None
    with _open_parquet(file) as opened:
        metadata = opened.schema_arrow.metadata or {}
        given = [metadata.get(key, b"").decode() for key in (b"tokens", b"width")]
        flat = tuple(map(int, given)) if all(map(str.isdigit, given)) else PARQUET_SHAPE
        for batch in opened.iter_batches(size, columns=[NAMED]):
            rows = _as_array(batch[NAMED], flat, f"{file}: {NAMED}")
            shape = shape or rows.shape[1:]
            if rows.shape[1:] != shape:
                raise DataError(f"{file}: {NAMED}: rows of {rows.shape[1:]} behind {shape}")
            yield rows


def _as_array(column: Any, flat: tuple[int, ...], where: str) -> Array:
    """Lists of numbers, nested or flat ones of the shape `flat` -> (rows, tokens, width)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows, lengths = len(column), []
    while isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        distinct = pc.list_value_length(column).unique().to_pylist()
        if len(distinct) != 1 or distinct[0] is None:
            raise DataError(f"{where}: lists should be as long as each other")
        lengths += distinct
        column = column.flatten()
    if not lengths or column.null_count or not pa.types.is_floating(column.type):
        raise DataError(f"{where}: should be lists of numbers, found {column.type}")
    shape = tuple(lengths) if len(lengths) == 2 else flat
    if len(lengths) > 2 or (len(lengths) == 1 and np.prod(flat) != lengths[0]):
        raise DataError(
            f"{where}: a row should hold {flat[0]} x {flat[1]} values, found lists of {lengths}. "
            "'tokens' and 'width' in the schema's metadata give another shape."
        )
    values: Array = column.to_numpy(zero_copy_only=False)
    return values.reshape(rows, *shape)
