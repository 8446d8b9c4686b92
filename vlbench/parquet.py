"""Decode Parquet files that may come from anybody: within a budget of rows and bytes.

One long text, repeated, takes some kilobytes in a file and all memory outside it, so texts are
decoded as the file keeps them, each once, and what they would take is summed up before they are
written out. What the file's own metadata say can only end it earlier.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlbench.errors import DataError

MOST_ROWS = 1_000_000
"""More than any test split has."""
MOST_VALUES = 10_000_000
"""Of a column in a group of rows, those in lists too."""
MOST_BYTES = 1 << 29
MOST_PARTS = 1_000
"""Columns, and groups of rows."""
FEW_ROWS = 10_000
"""Files of no more rows, and small by what they say, are read at once, in half the time."""


def open_parquet(source: Path | pa.Buffer) -> pq.ParquetFile:
    """The file, whose contents are still to be decoded."""
    parquet = pq.ParquetFile(_readable(source))
    told = parquet.metadata
    for count, what in ((told.num_columns, "columns"), (told.num_row_groups, "row groups")):
        if count > MOST_PARTS:
            raise DataError(f"{count:,} {what}, {MOST_PARTS:,} at the most")
    return parquet


def decode(
    source: Path | pa.Buffer,
    parquet: pq.ParquetFile,
    columns: Collection[str] | None = None,
    most_rows: int = MOST_ROWS,
) -> pa.Table:
    """The table in an opened file, or these columns of it; DataError where it is too large."""
    told = parquet.metadata
    size = sum(told.row_group(group).total_byte_size for group in range(told.num_row_groups))
    _refuse_more(told.num_rows, size, most_rows)
    if any(pa.types.is_nested(field.type) for field in parquet.schema_arrow):
        groups = [told.row_group(group) for group in range(told.num_row_groups)]
        _refuse_more(max((_values(group) for group in groups), default=0), 0, MOST_VALUES)
    names = None if columns is None else list(columns)
    if told.num_rows <= FEW_ROWS and told.num_rows * size <= MOST_BYTES:
        return parquet.read(columns=names, use_threads=False)
    leaves = [parquet.schema.column(index) for index in range(told.num_columns)]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    folded = pq.ParquetFile(_readable(source), read_dictionary=texts)
    rows = size = 0
    batches = []
    for group in range(told.num_row_groups):  # Arrow has no nested dictionaries across groups
        for batch in folded.iter_batches(MOST_ROWS, [group], names, use_threads=False):
            rows += batch.num_rows
            size += sum(map(_unfolded, batch.columns))
            _refuse_more(rows, size, most_rows)
            batches.append(batch)
    table = pa.Table.from_batches(batches, batches[0].schema if batches else folded.schema_arrow)
    return table.cast(pa.schema([parquet.schema_arrow.field(name) for name in table.column_names]))


def _values(group: pq.RowGroupMetaData) -> int:
    """Of the column that has the most: a list in one row may have any number."""
    return max(int(group.column(index).num_values) for index in range(group.num_columns))


def _readable(source: Path | pa.Buffer) -> Path | pa.BufferReader:
    return pa.BufferReader(source) if isinstance(source, pa.Buffer) else source


def _unfolded(column: pa.Array) -> int:
    """Bytes of what it says once every text is written out."""
    if isinstance(column, pa.ListArray):
        return int(column.offsets.nbytes + _unfolded(column.flatten()))
    if isinstance(column, pa.DictionaryArray):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
        return int(column.indices.nbytes + (pc.sum(lengths).as_py() or 0))
    return int(column.nbytes)


def _refuse_more(rows: int, size: int, most_rows: int) -> None:
    if rows > most_rows:
        raise DataError(f"{rows:,} rows or values in them, {most_rows:,} at the most")
    if size > MOST_BYTES:
        raise DataError(f"{MOST_BYTES:,} bytes at the most, and it unpacks to more")
