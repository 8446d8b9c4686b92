"""A folder of Parquet shards, a row per picture: its id, and its features as a list of numbers.

The id stands in the column `id`, `image_id` or `img_id`. `features` is a list of tokens x width
values, flat or nested, float16 or float32; `tokens` and `width` in the schema's metadata give the
shape of a flat one, 49 x 2048 where they say nothing. Parquet is read a row group at a time: small
row groups (64 rows or fewer) read faster in random order.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlbench.data.stores.base import Array
from vlbench.data.stores.foreign import NAMED, ForeignStore
from vlbench.errors import DataError

SUFFIX = ".parquet"
ID_COLUMNS = ("id", "image_id", "img_id")
SHAPE = (49, 2048)
"""Of a row whose schema does not say it: the 7 x 7 grid of CLIP RN101."""
KEPT_BYTES = 256 << 20
"""Of row groups that stay decoded in memory, the latest ones."""
Place = tuple[int, int, int]
"""Shard, row group, row in it."""


class Parquet(ForeignStore):
    """Shards are mapped into memory; the ids of all rows are read at opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        self._shards: dict[int, Any] = {}
        self._process = 0
        self._kept: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._places: dict[str, Place] = {}
        for shard in range(len(self._files)):
            self._add_places(shard)
        super().__init__(path, self._places.keys())

    def load(self, image: str) -> Array:
        """The row of that picture, a copy."""
        shard, group, row = self._places[image]
        found: Array = self._group(shard, group)[row].copy()
        return found

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width), each row group decoded once."""
        order = sorted(range(len(ids)), key=lambda at: self._places.get(ids[at], (0, 0, 0)))
        found = {at: self.read(ids[at]) for at in order}
        return np.stack([found[at] for at in range(len(ids))])

    def _add_places(self, shard: int) -> None:
        path, file = self._files[shard], self._open(shard)
        names = file.schema_arrow.names
        column = next((name for name in ID_COLUMNS if name in names), None)
        if column is None or NAMED not in names:
            raise DataError(
                f"{path}: should have the columns {' or '.join(ID_COLUMNS)}, and {NAMED}; found "
                f"{', '.join(names)}"
            )
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=[column], use_threads=False)[column]
            for row, image in enumerate(map(str, ids.to_pylist())):
                if image in self._places:
                    raise DataError(f"{path}: {image}: stands twice in {self.path}")
                self._places[image] = (shard, group, row)

    def _open(self, shard: int) -> Any:
        """The shard, opened once in each process."""
        from pyarrow import ArrowException, parquet

        if self._process != os.getpid():
            self._shards, self._process = {}, os.getpid()
        if shard not in self._shards:
            path = self._files[shard]
            try:
                self._shards[shard] = parquet.ParquetFile(path, memory_map=True)
            except (OSError, ArrowException) as error:
                raise DataError(f"{path}: not a readable Parquet file: {error}") from None
        return self._shards[shard]

    def _group(self, shard: int, group: int) -> Array:
        """The features of a row group, (rows, tokens, width)."""
        from pyarrow import ArrowException

        key = (shard, group)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        path, file = self._files[shard], self._open(shard)
        try:
            read = file.read_row_group(group, columns=[NAMED], use_threads=False)  # safe in forks
            column = read[NAMED].combine_chunks()
        except (OSError, ArrowException) as error:
            raise DataError(f"{path}: row group {group}: cannot be read: {error}") from None
        found = _rows(column, file.schema_arrow.metadata or {}, f"{path}: row group {group}")
        self._kept[key] = found
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return found


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


def _bytes(array: Array) -> int:
    return int(array.nbytes)
