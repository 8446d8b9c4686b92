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
import os
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from vlbench.data.stores.base import Array, Store, Union
from vlbench.data.stores.own import INDEX, FeatureStore, partial_of
from vlbench.errors import DataError, MissingError
from vlbench.files import cache_folder, write_atomically, writing_cache

FINGERPRINTED = 64
"""Features whose bytes go into a fingerprint: hashing 45 GB at each start would hurt."""
NAMED = "features"
"""What every published layout calls the array."""
HDF5, PARQUET, NPZ = (".h5", ".hdf5"), ".parquet", ".npz"
ABOUT = "clips.json"
"""Names the encoder in our own stores of clips."""
BROKEN_HDF5 = (OSError, RuntimeError, KeyError, ValueError)
BROKEN_NPZ = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What h5py and NumPy raise for truncated and damaged files, pickles, and missing arrays."""
ID_COLUMNS = ("id", "image_id", "img_id")
PARQUET_SHAPE = (49, 2048)
"""Of a row whose schema does not give it: the 7 x 7 grid of CLIP RN101."""
LOOKED_FOR = (
    "index.json with features.npy (our own, here or in a folder per split), {id}.h5 or one .h5 "
    "per split, *.parquet, {clip}.npz"
)


def open_store(path: Path) -> Store:
    """The store at `path`, whose files tell its layout; MissingError if vlbench knows none."""
    store = _file_store(path) if path.is_file() else _folder_store(path)
    if store is not None:
        return store
    hint = ""
    if path.absolute().name and (partial := partial_of(path.absolute())).is_dir():
        hint = f" {partial} is begun: the same extract-features command goes on with it."
    raise MissingError(f"{path}: no feature store; looked for {LOOKED_FOR}.{hint}")


def _file_store(path: Path) -> Store | None:
    if path.suffix in HDF5:
        return Hdf5Split(path)
    return Parquet(path) if path.suffix == PARQUET else None


def _folder_store(path: Path) -> Store | None:
    if not path.is_dir():
        return None
    if (path / INDEX).is_file():
        return FeatureStore.open(path)
    suffixes = {file.suffix for file in path.iterdir()}
    if PARQUET in suffixes:
        return Parquet(path)
    if NPZ in suffixes:
        return Npz(path)
    if suffixes & set(HDF5):
        files = _hdf5_files(path)
        with _open_hdf5(files[0]) as file:  # a picture's file holds one group of the file's name
            is_picture = list(file) == [files[0].stem]
        return Hdf5Pictures(path) if is_picture else Union([Hdf5Split(file) for file in files])
    splits = sorted(folder.parent for folder in path.glob(f"*/{INDEX}"))
    return Union([FeatureStore.open(folder) for folder in splits]) if splits else None


class PublishedStore(Store):
    """One array per id, float16 or float32, of one width; the ids are known at opening.

    A pickled store is opened again where it is unpickled.
    """

    def __init__(self, path: Path, ids: Collection[str], width: int | None = None) -> None:
        self.path = path
        self.ids = frozenset(ids)
        if not self.ids:
            raise MissingError(f"{path}: a feature store without a single feature")
        self.width = width or self.read(min(self.ids)).shape[1]

    @abstractmethod
    def load(self, image: str) -> Array:
        """The array of a known id as it is stored; DataError where it is damaged."""

    def read(self, image: str) -> Array:
        """The checked features of a picture or clip, (tokens, width)."""
        if image not in self.ids:
            raise DataError(f"{self.path}: no features of {image}")
        return checked(self.load(image), f"{self.path}: {image}", getattr(self, "width", None))

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold; opens no file."""
        return [image for image in dict.fromkeys(ids) if image not in self.ids]

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over all ids, and over shape, type and bytes of up to 64 features.

        A sample: those with the smallest hashes of their ids, the same on every machine.
        """
        wanted = sorted(set(ids))
        sample = sorted(wanted, key=lambda image: (_hash(image.encode()), image))[:FINGERPRINTED]
        lines = [f"{image}\n" for image in wanted]
        for image in sample:
            array = self.read(image)
            values = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
            lines.append(f"{image} {array.shape} {array.dtype.name} {_hash(values.tobytes())}\n")
        return _hash("".join(lines).encode())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)


def checked(features: Array, where: str, width: int | None) -> Array:
    """The array, if it is (tokens, width) of finite float16 or float32, tokens at least 1."""
    if features.ndim != 2 or not features.size:
        raise DataError(f"{where}: should be (tokens, width), found {features.shape}")
    if features.dtype not in (np.float16, np.float32):
        raise DataError(f"{where}: should be float16 or float32, found {features.dtype}")
    if width is not None and features.shape[1] != width:
        raise DataError(f"{where}: has width {features.shape[1]}, the others have {width}")
    if not np.isfinite(features).all():
        raise DataError(f"{where}: features are not finite")
    return features


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Npz(PublishedStore):
    """A folder of one archive per clip, of any number of frames."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, {file.stem for file in path.iterdir() if file.suffix == NPZ})
        self.encoder = (about(path).get("encoder") or {}).get("name")

    def load(self, image: str) -> Array:
        """The array `features` of the clip's archive."""
        path = self.path / f"{image}{NPZ}"
        try:  # NumPy would leave a broken file open if given its path
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return np.asarray(archive[NAMED])
        except BROKEN_NPZ as error:
            raise DataError(f"{path}: {image}: no readable '{NAMED}': {error}") from None


def about(folder: Path) -> dict[str, Any]:
    """Encoder and file stamps of our own stores of clips; empty for those of others."""
    try:
        document = json.loads((folder / ABOUT).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{folder / ABOUT}: cannot be read: {error}") from None
    return document if isinstance(document, dict) else {}


class Hdf5Pictures(PublishedStore):
    """A folder of one HDF5 file per picture; each is opened and closed as it is read."""

    def __init__(self, path: Path) -> None:
        self._files = {file.stem: file.name for file in _hdf5_files(path)}
        super().__init__(path, self._files.keys())

    def load(self, image: str) -> Array:
        """The array in the picture's own file."""
        path = self.path / self._files[image]
        with _open_hdf5(path) as file:
            return _hdf5_features(file, path, image)


class Hdf5Split(PublishedStore):
    """One HDF5 file of many pictures, opened once in each process at the first reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, self._process = cast(Any, None), 0
        with _open_hdf5(path) as file:
            ids = list(file)
        super().__init__(path, ids)
        if self._file is not None:  # so that a fork that follows inherits nothing
            self._file.close()
        self._file, self._process = None, 0

    def load(self, image: str) -> Array:
        """The array of that picture."""
        if self._process != os.getpid():  # a handle of the parent is not to be touched
            self._file, self._process = _open_hdf5(self.path), os.getpid()
        return _hdf5_features(self._file, self.path, image)


def _hdf5_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in HDF5)


def _open_hdf5(path: Path) -> Any:
    """The file, read only; locking fails on some network file systems and is not needed."""
    try:
        h5py = import_module("h5py")
    except ImportError:
        raise MissingError(
            "Reading HDF5 features needs h5py, which is missing: pip install 'vlbench[hdf5]'"
        ) from None
    try:
        return h5py.File(path, "r", locking=False)
    except BROKEN_HDF5 as error:
        raise DataError(f"{path}: not a readable HDF5 file: {error}") from None


def _hdf5_features(file: Any, path: Path, image: str) -> Array:
    try:
        return np.asarray(file[f"{image}/{NAMED}"][()])
    except BROKEN_HDF5 as error:
        raise DataError(f"{path}: {image}: no readable '{image}/{NAMED}': {error}") from None


class Parquet(PublishedStore):
    """Shards, a row per picture. Parquet is decoded a row group at a time, far too slowly for
    random rows, so each shard is unpacked into the cache at its first reading."""

    def __init__(self, path: Path) -> None:
        self._files = sorted(path.glob(f"*{PARQUET}")) if path.is_dir() else [path]
        self._rows: dict[str, tuple[int, int]] = {}  # id -> shard, row
        self._unpacked: dict[int, Array] = {}
        for shard, file in enumerate(self._files):
            for row, image in enumerate(_parquet_ids(file)):
                if image in self._rows:
                    raise DataError(f"{file}: {image}: stands twice in {path}")
                self._rows[image] = (shard, row)
        super().__init__(path, self._rows.keys(), _parquet_width(self._files[0]))

    def prepare(self, say: Callable[[str], None]) -> None:
        """Unpack what is not in the cache yet."""
        for shard in sorted({shard for shard, _ in self._rows.values()}):
            file = self._files[shard]
            if not _unpacked_file(file).is_file():
                say(f"{file}: unpacking into the cache, shard {shard + 1} of {len(self._files)}")
                self._shard(shard)

    def load(self, image: str) -> Array:
        """The row of that picture, a copy."""
        shard, row = self._rows[image]
        return np.array(self._shard(shard)[row])

    def _shard(self, shard: int) -> Array:
        """All rows of a shard, (rows, tokens, width), mapped into memory."""
        if shard not in self._unpacked:
            file = self._files[shard]
            unpacked = _unpacked_file(file)
            if not unpacked.is_file():
                with writing_cache():
                    write_atomically(unpacked, lambda path: _unpack(file, path))
            self._unpacked[shard] = np.load(unpacked, mmap_mode="r", allow_pickle=False)
        return self._unpacked[shard].view(np.ndarray)


def _unpacked_file(file: Path) -> Path:
    """Where in the cache the rows of a shard of this path, size and time lie."""
    status = file.stat()
    key = f"{file.absolute()}\n{status.st_size}\n{status.st_mtime_ns}"
    return cache_folder() / "parquet" / f"{_hash(key.encode())[:32]}.npy"


def _unpack(file: Path, path: Path) -> None:
    """Write the features of a shard as an array of (rows, tokens, width)."""
    with path.open("wb") as out:
        _write_rows(file, out)


def _write_rows(file: Path, out: BinaryIO) -> None:
    from pyarrow import ArrowException

    opened = _open_parquet(file)
    count, shape = opened.metadata.num_rows, None
    for group in range(opened.num_row_groups):
        where = f"{file}: row group {group}"
        try:  # without threads, as they do not outlive a fork
            column = opened.read_row_group(group, columns=[NAMED], use_threads=False)[NAMED]
        except (OSError, ArrowException) as error:
            raise DataError(f"{where}: cannot be read: {error}") from None
        rows = _parquet_rows(column.combine_chunks(), opened, where)
        if shape is None:
            shape = rows.shape[1:]
            head = {"descr": rows.dtype.str, "fortran_order": False, "shape": (count, *shape)}
            np.lib.format.write_array_header_1_0(out, head)
        if rows.shape[1:] != shape:
            raise DataError(f"{where}: rows of {rows.shape[1:]} behind {shape}")
        out.write(np.ascontiguousarray(rows).tobytes())


def _open_parquet(file: Path) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(file, memory_map=True)
    except (OSError, ArrowException) as error:
        raise DataError(f"{file}: not a readable Parquet file: {error}") from None


def _parquet_ids(file: Path) -> list[str]:
    """The ids of a shard's rows, in order."""
    opened = _open_parquet(file)
    names = opened.schema_arrow.names
    column = next((name for name in ID_COLUMNS if name in names), None)
    if column is None or NAMED not in names:
        raise DataError(
            f"{file}: should have the columns {' or '.join(ID_COLUMNS)}, and {NAMED}; found "
            f"{', '.join(names)}"
        )
    return list(map(str, opened.read(columns=[column], use_threads=False)[column].to_pylist()))


def _parquet_width(file: Path) -> int:
    """Width of the first row, without decoding the others."""
    opened, where = _open_parquet(file), f"{file}: row 0"
    for batch in opened.iter_batches(batch_size=1, columns=[NAMED], use_threads=False):
        rows = _parquet_rows(batch[NAMED], opened, where)
        return int(checked(rows[0], where, None).shape[1])
    return 0


def _parquet_rows(column: Any, opened: Any, where: str) -> Array:
    """A column of lists -> (rows, tokens, width)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows, lengths = len(column), []
    while isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        distinct = pc.list_value_length(column).unique().to_pylist()
        if len(distinct) != 1 or distinct[0] is None:
            raise DataError(f"{where}: lists of {NAMED} should be as long as each other")
        lengths += distinct
        column = column.flatten()
    if not lengths or column.null_count or not pa.types.is_floating(column.type):
        raise DataError(f"{where}: {NAMED} should be lists of numbers, found {column.type}")
    tokens, width = lengths if len(lengths) == 2 else PARQUET_SHAPE
    metadata = opened.schema_arrow.metadata or {}
    given = [metadata.get(key, b"").decode() for key in (b"tokens", b"width")]
    if len(lengths) != 2 and all(number.isdigit() for number in given):
        tokens, width = map(int, given)
    if len(lengths) > 2 or (len(lengths) == 1 and tokens * width != lengths[0]):
        raise DataError(
            f"{where}: a row should hold {tokens} x {width} values, found lists of {lengths}. "
            "'tokens' and 'width' in the schema's metadata give another shape."
        )
    values: Array = column.to_numpy(zero_copy_only=False)
    return values.reshape(rows, tokens, width)
