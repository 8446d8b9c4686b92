"""Parquet files: the columns of `result.parquet`, how files are written, and a decoder for files
that anybody wrote.

One long text, repeated, takes some kilobytes in a file and all memory outside it. So decoding has a
budget of rows and bytes that no file can raise: texts are decoded as the file keeps them, each
once, and what they would take is summed up before they are written out.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlbench.errors import DataError

MOST_ROWS = 1_000_000
"""More than any test split has."""
MOST_RESULT_ROWS = 20_000
"""Far more than the metrics and families of any suite."""
MOST_VALUES = 10_000_000
"""Of a column in a group of rows, those in lists too."""
MOST_BYTES = 1 << 29
MOST_PARTS = 1_000
"""Columns, and groups of rows."""
FEW_ROWS = 10_000
"""Files of no more rows, and small by what they say, are read at once, in half the time."""


TYPES = {
    "key": "string", "attempt": "int64", "status": "string", "method": "string", "title": "string",
    "technique": "string", "sharing": "string", "settings": "string", "init": "string",
    "suite": "string", "task": "string", "backbone": "string", "backbone_hash": "string",
    "edition": "string", "scope": "string", "limit": "int64", "split": "string", "seed": "int64",
    "metric": "string", "main": "bool", "family": "string", "value": "double", "majority": "double",
    "n_examples": "int64", "trainable_parameters": "int64", "total_parameters": "int64",
    "trainable_percent": "double", "denominator": "string", "adapter_bytes": "int64",
    "peak_memory_bytes": "int64", "train_seconds": "double", "examples_per_second": "double",
    "evaluate_seconds": "double", "learning_rate": "double", "epochs": "int64",
    "batch_size": "int64", "precision": "string", "device": "string", "card_hash": "string",
    "data_fingerprint": "string", "code_version": "string", "versions": "string",
    "created_at": "string", "model_parameters": "int64", "projector": "bool",
}  # fmt: skip
IDENTIFYING = (
    "key", "status", "method", "settings", "init", "suite", "task", "backbone", "backbone_hash",
    "edition", "scope", "split", "seed", "metric", "main", "family",
)  # fmt: skip
"""The columns that say which number a row holds: never null. Every other column may be."""
LATER: dict[str, object] = {}
"""Columns that came after the first results, in that order -> what a file without them means."""
COLUMNS = pa.schema(
    pa.field(name, pa.type_for_alias(type), name not in IDENTIFYING) for name, type in TYPES.items()
)
"""The Arrow schema of `result.parquet`; `results/README.md` has each column's unit and meaning."""


def encode(table: pa.Table) -> bytes:
    """The table as the bytes of a Parquet file: the same for equal tables and one pyarrow."""
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", compression_level=15)
    return content.getvalue()


def open_parquet(source: Path | pa.Buffer) -> pq.ParquetFile:
    """Open a file whose contents are still to be decoded."""
    parquet = pq.ParquetFile(_readable(source))
    metadata = parquet.metadata
    if max(metadata.num_columns, metadata.num_row_groups) > MOST_PARTS:
        text = f"{metadata.num_columns:,} columns, {metadata.num_row_groups:,} groups of rows"
        raise DataError(f"{text}, {MOST_PARTS:,} at the most")
    return parquet


def decode(
    source: Path | pa.Buffer,
    parquet: pq.ParquetFile,
    columns: Collection[str] | None = None,
    most_rows: int = MOST_ROWS,
) -> pa.Table:
    """Decode an opened file, or these columns of it; DataError where it is too large."""
    metadata, schema = parquet.metadata, parquet.schema_arrow
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    _refuse_more(metadata.num_rows, size, most_rows)
    if any(pa.types.is_nested(field.type) for field in schema):  # a list may have any length
        values = (g.column(index).num_values for g in groups for index in range(g.num_columns))
        _refuse_more(max(values, default=0), 0, MOST_VALUES)
    names = None if columns is None else list(columns)
    if metadata.num_rows <= FEW_ROWS and metadata.num_rows * size <= MOST_BYTES:
        return parquet.read(columns=names, use_threads=False)
    rows = size = 0
    batches = []
    for batch in folded_batches(source, parquet, names):
        rows += batch.num_rows
        size += sum(map(_unfolded, batch.columns))
        _refuse_more(rows, size, most_rows)
        batches.append(batch)
    folded = batches[0].schema if batches else schema
    return unfolded(pa.Table.from_batches(batches, folded), schema)


def folded_batches(
    source: Path | pa.Buffer, parquet: pq.ParquetFile, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read an opened file with its texts as dictionaries: each text once, as the file keeps it."""
    leaves = [parquet.schema.column(index) for index in range(parquet.metadata.num_columns)]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    folded = pq.ParquetFile(_readable(source), read_dictionary=texts)
    for group in range(folded.num_row_groups):  # Arrow has no nested dictionaries across groups
        yield from folded.iter_batches(MOST_ROWS, [group], columns, use_threads=False)


def unfolded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Write out the texts of a table: its columns as the schema has them."""
    return table.cast(pa.schema([schema.field(name) for name in table.column_names]))


def _readable(source: Path | pa.Buffer) -> Path | pa.BufferReader:
    return pa.BufferReader(source) if isinstance(source, pa.Buffer) else source


def _unfolded(column: pa.Array) -> int:
    """Bytes of a column once every text is written out."""
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
