"""A folder of Parquet shards, a row per picture: its id, and its features as a list of numbers.

The id stands in the column `id`, `image_id` or `img_id`. `features` is a list of tokens x width
values, flat or nested, float16 or float32; `tokens` and `width` in the schema's metadata give the
shape of a flat one, 49 x 2048 where they say nothing. Parquet is decoded a row group at a time, far
too slowly for random rows, so each shard is unpacked into the cache when it is first read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vlbench.data.stores.base import Array
from vlbench.data.stores.foreign import NAMED, ForeignStore, checked
from vlbench.errors import DataError
from vlbench.files import cache_folder, write_atomically, writing_cache

SUFFIX = ".parquet"
ID_COLUMNS = ("id", "image_id", "img_id")
SHAPE = (49, 2048)
"""Of a row whose schema does not say it: the 7 x 7 grid of CLIP RN101."""


class Parquet(ForeignStore):
    """The ids of all rows are read at opening; the rows are mapped into memory once unpacked."""

    def __init__(self, path: Path) -> None:
        self._files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        self._places: dict[str, tuple[int, int]] = {}  # id -> shard, row
        self._unpacked: dict[int, Array] = {}
        for shard, file in enumerate(self._files):
            for row, image in enumerate(_ids(file)):
                if image in self._places:
                    raise DataError(f"{file}: {image}: stands twice in {path}")
                self._places[image] = (shard, row)
        super().__init__(path, self._places.keys(), _width(self._files[0]))

    def prepare(self, say: Callable[[str], None]) -> None:
        """Unpack what is not in the cache yet."""
        for shard in sorted({shard for shard, _ in self._places.values()}):
            file = self._files[shard]
            if not _unpacked_file(file).is_file():
                say(f"{file}: unpacking into the cache, shard {shard + 1} of {len(self._files)}")
                self._rows(shard)

    def load(self, image: str) -> Array:
        """The row of that picture, a copy."""
        shard, row = self._places[image]
        found: Array = self._rows(shard)[row].copy()
        return found

    def _rows(self, shard: int) -> Array:
        """All rows of a shard, mapped into memory."""
        if shard not in self._unpacked:
            file = self._files[shard]
            there = _unpacked_file(file)
            if not there.is_file():
                _unpack(file, there)
            self._unpacked[shard] = np.load(there, mmap_mode="r", allow_pickle=False)
        return self._unpacked[shard].view(np.ndarray)


def _unpacked_file(file: Path) -> Path:
    """Where in the cache the rows of a shard lie: the file's path, size and time say it."""
    found = file.stat()
    key = f"{file.absolute()}\n{found.st_size}\n{found.st_mtime_ns}"
    return cache_folder() / "parquet" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"


def _unpack(file: Path, there: Path) -> None:
    """Write the features of a shard as an array of (rows, tokens, width)."""

    def write(path: Path) -> None:
        with path.open("wb") as out:
            _write_rows(file, out)

    with writing_cache():
        write_atomically(there, write)


def _write_rows(file: Path, out: BinaryIO) -> None:
    opened = _open(file)
    count, shape = opened.metadata.num_rows, None
    for group in range(opened.num_row_groups):
        rows = _decoded(opened, f"{file}: row group {group}", group)
        if shape is None:
            shape = rows.shape[1:]
            head = {"descr": rows.dtype.str, "fortran_order": False, "shape": (count, *shape)}
            np.lib.format.write_array_header_1_0(out, head)
        if rows.shape[1:] != shape:
            raise DataError(f"{file}: row group {group}: rows of {rows.shape[1:]} behind {shape}")
        out.write(np.ascontiguousarray(rows).tobytes())


def _open(file: Path) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        opened = parquet.ParquetFile(file, memory_map=True)
    except (OSError, ArrowException) as error:
        raise DataError(f"{file}: not a readable Parquet file: {error}") from None
    return opened


def _ids(file: Path) -> list[str]:
    """The ids of a shard's rows, in order."""
    opened = _open(file)
    names = opened.schema_arrow.names
    column = next((name for name in ID_COLUMNS if name in names), None)
    if column is None or NAMED not in names:
        raise DataError(
            f"{file}: should have the columns {' or '.join(ID_COLUMNS)}, and {NAMED}; found "
            f"{', '.join(names)}"
        )
    return list(map(str, opened.read(columns=[column], use_threads=False)[column].to_pylist()))


def _width(file: Path) -> int:
    """Of the first row, without decoding the others."""
    opened = _open(file)
    where = f"{file}: row 0"
    for batch in opened.iter_batches(batch_size=1, columns=[NAMED], use_threads=False):
        rows = _rows(batch[NAMED], opened.schema_arrow.metadata or {}, where)
        return int(checked(rows[0], where, None).shape[1])
    return 0


def _decoded(opened: Any, where: str, group: int) -> Array:
    """The features of a row group, (rows, tokens, width)."""
    from pyarrow import ArrowException

    try:
        # Without threads, as they do not outlive a fork.
        column = opened.read_row_group(group, columns=[NAMED], use_threads=False)[NAMED]
    except (OSError, ArrowException) as error:
        raise DataError(f"{where}: cannot be read: {error}") from None
    return _rows(column.combine_chunks(), opened.schema_arrow.metadata or {}, where)


def _rows(column: Any, metadata: dict[bytes, bytes], where: str) -> Array:
    """A column of lists -> (rows, tokens, width)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows, lengths = len(column), []
    while isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        found = pc.list_value_length(column).unique().to_pylist()
        if len(found) != 1 or found[0] is None:
            raise DataError(f"{where}: lists of {NAMED} should be as long as each other")
        lengths += found
        column = column.flatten()
    if not lengths or column.null_count or not pa.types.is_floating(column.type):
        raise DataError(f"{where}: {NAMED} should be lists of numbers, found {column.type}")
    values: Array = column.to_numpy(zero_copy_only=False)
    return values.reshape(rows, *_shape(metadata, lengths, where))


def _shape(metadata: dict[bytes, bytes], lengths: list[int], where: str) -> tuple[int, int]:
    """(tokens, width) of a row whose lists are that long, the outer ones first."""
    if len(lengths) == 2:
        return lengths[0], lengths[1]
    said = [metadata.get(key, b"").decode() for key in (b"tokens", b"width")]
    tokens, width = map(int, said) if all(each.isdigit() for each in said) else SHAPE
    if len(lengths) != 1 or tokens * width != lengths[0]:
        raise DataError(
            f"{where}: a row should hold {tokens} x {width} values, found lists of {lengths}. "
            "Another shape is said by 'tokens' and 'width' in the schema's metadata."
        )
    return tokens, width
