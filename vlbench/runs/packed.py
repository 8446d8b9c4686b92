"""Packed runs: a results folder keeps the files of many runs in four Parquet tables a suite.

    packed/<suite>/rows.parquet         the rows of each result.parquet
    packed/<suite>/predictions.parquet  the rows of each predictions/<task>.parquet
    packed/<suite>/curves.parquet       the lines of each metrics.jsonl
    packed/<suite>/files.parquet        every other file of a run, as text
    packed/SHA256SUMS                   the sums of these files

A packed run is read like its folder: a `PackedPath` stands for the folder and for each file in it,
as a `pathlib.Path` does where the run is not packed. What a Parquet file of the run held follows
from its rows, byte for byte where the pyarrow here is the one that packed it.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlbench.errors import DataError
from vlbench.parquet import COLUMNS, LATER, MOST_BYTES, folded_batches, open_parquet
from vlbench.parquet import unfolded as write_out_texts
from vlbench.runs.packed_files import prediction_files, result_files, sha256, write_curve
from vlbench.runs.sums import CURVE, NAME, RESULT, parse_sums

FOLDER = "packed"
MOST_PACKED_ROWS = 50_000_000
PREDICTION = pa.schema(
    {
        **{"id": pa.string(), "family": pa.string(), "images": pa.list_(pa.string())},
        **{"text": pa.string(), "prediction": pa.string(), "references": pa.string()},
        "score": pa.float64(),
    }
)
"""The columns of `predictions/<task>.parquet`."""
TABLES = {
    "rows": COLUMNS,
    "predictions": pa.schema([("key", pa.string()), ("task", pa.string()), *PREDICTION]),
    "curves": pa.schema(
        [
            *(("key", pa.string()), ("step", pa.int64()), ("epoch", pa.int64())),
            *(("task", pa.string()), ("loss", pa.float64()), ("learning_rate", pa.float64())),
            *(("metric", pa.string()), ("value", pa.float64())),  # of a validation
        ]
    ),
    "files": pa.schema([("key", pa.string()), ("file", pa.string()), ("text", pa.string())]),
}
"""Table of a pack -> its columns; `curves` has a row for each loss and each metric validated."""
INDEX = {"rows": ["key"], "predictions": ["key", "task"], "curves": ["key"]}
INDEX |= {"files": ["key", "file"]}
"""Table -> the columns that say whose rows these are: they stand together."""
PLAIN = re.compile(r"\w[\w.+ -]{0,99}")
"""A name that is one file's or folder's, wherever it comes from."""
WRITER = f"parquet-cpp-arrow version {pa.cpp_version}"


class PackedPath(Traversable):
    """A packed run's folder or a file in it."""

    def __init__(self, pack: Pack, key: str, file: str = "") -> None:
        self.pack, self.key, self.file = pack, key, file

    def __str__(self) -> str:
        return "/".join(filter(None, (str(self.pack.folder), self.key, self.file)))

    @property
    def name(self) -> str:
        """The run's key, or the file's name."""
        return self.file.rpartition("/")[2] or self.key

    def joinpath(self, *names: Any) -> PackedPath:
        """The file with that name in this folder."""
        return PackedPath(self.pack, self.key, "/".join(filter(None, (self.file, *names))))

    def __truediv__(self, name: Any) -> PackedPath:
        return self.joinpath(name)

    def is_file(self) -> bool:
        """Whether the run has this file."""
        return self.file in self.pack.names(self.key)

    def is_dir(self) -> bool:
        """Whether the run has files below this name."""
        return not self.file or any(self.iterdir())

    def iterdir(self) -> Iterator[PackedPath]:
        """The files and folders in this folder."""
        below = f"{self.file}/" if self.file else ""
        names = [n for n in self.pack.names(self.key) if n.startswith(below)]
        for name in dict.fromkeys(name.removeprefix(below).partition("/")[0] for name in names):
            yield self / name

    def open(self, mode: Any = "r", *args: Any, **options: Any) -> IO[Any]:
        """Open the file for reading."""
        content = io.BytesIO(self.read_bytes())
        return content if "b" in mode else io.TextIOWrapper(content, *args, **options)

    def read_bytes(self) -> bytes:
        """The file's content; FileNotFoundError where the run has no such file."""
        if not self.is_file():
            raise FileNotFoundError(2, "No such file", str(self))
        return self.pack.content(self.key, self.file)

    def read_text(self, encoding: str | None = None) -> str:
        """The file's content as text."""
        return self.read_bytes().decode(encoding or "utf-8")

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a Parquet file; FileNotFoundError where the run has no such file."""
        try:
            return self.pack.table(self.key, self.file, columns)
        except KeyError:
            raise FileNotFoundError(2, "No such file", str(self)) from None


class Pack:
    """The packed runs of one suite; columns are read when they are needed, and then kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._buffers: dict[str, pa.Buffer] = {}
        self._stored: dict[str, list[str]] = {}  # names of columns
        self._columns: dict[tuple[str, str], pa.ChunkedArray] = {}
        self._ranges: dict[str, dict[tuple[str, ...], tuple[int, int]]] = {}

    def file(self, table: str) -> Path:
        """The file of one of TABLES."""
        return self.folder / f"{table}.parquet"

    @cached_property
    def keys(self) -> set[str]:
        """The keys of the runs."""
        return {key for (key,) in self.ranges("rows")}

    @cached_property
    def writer(self) -> str:
        """The program that packed the runs, with its version."""
        return str(self._opened("rows").metadata.created_by)

    @property
    def is_repeatable(self) -> bool:
        """Whether the pyarrow here writes Parquet files with the bytes that the runs had."""
        return self.writer == WRITER

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {key: [] for key in self.keys}
        for key, file in self.ranges("files"):
            names.setdefault(key, []).append(file)
        for (key,) in self.ranges("curves"):
            names.setdefault(key, []).append(CURVE)
        for key, task in self.ranges("predictions"):
            names.setdefault(key, []).append(f"predictions/{task}.parquet")
        return {key: [*files, RESULT] for key, files in names.items()}

    def names(self, key: str) -> list[str]:
        """The names of a run's files."""
        return self._names.get(key, [])

    def content(self, key: str, name: str) -> bytes:
        """A file's bytes."""
        if (key, name) in self.ranges("files"):
            text: str = self._rows("files", (key, name), ["text"])["text"][0].as_py() or ""
            return text.encode()
        if name == CURVE:
            return write_curve(self._rows("curves", (key,)).to_pylist())
        return self._encoded(key, name)

    def _encoded(self, key: str, name: str) -> bytes:
        """A Parquet file, written the way that gives the sum which the run kept of it."""
        table, stored = self.table(key, name), ""
        if (key, NAME) in self.ranges("files"):
            stored = parse_sums(self.content(key, NAME).decode(), name).get(name, "")
        contents = result_files(table) if name == RESULT else prediction_files(table)
        usual = next(contents)
        ways = (usual, *contents) if sha256(usual) != stored else (usual,)
        return next((content for content in ways if sha256(content) == stored), usual)

    def table(self, key: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a run's Parquet file; KeyError where there is no such file."""
        if name == RESULT:
            return self._rows("rows", (key,), columns)
        task = name.removeprefix("predictions/").removesuffix(".parquet")
        if name != f"predictions/{task}.parquet":
            raise KeyError(name)
        return self._rows("predictions", (key, task), columns or PREDICTION.names)

    def _rows(
        self, table: str, index: tuple[str, ...], columns: Sequence[str] | None = None
    ) -> pa.Table:
        start, count = self.ranges(table)[index]
        names = [n for n in columns or self._stored[table] if n in self._stored[table]]
        self._load(table, names)
        parts = [self._columns[table, name].slice(start, count) for name in names]
        return write_out_texts(pa.table(parts, names=names), TABLES[table]).combine_chunks()

    def ranges(self, table: str) -> dict[tuple[str, ...], tuple[int, int]]:
        """The first row and the number of rows of each value of a table's INDEX."""
        if table not in self._ranges:
            self._load(table, INDEX[table])
            self._ranges[table] = self._find_ranges(table)
        return self._ranges[table]

    def _find_ranges(self, table: str) -> dict[tuple[str, ...], tuple[int, int]]:
        columns = [self._columns[table, name] for name in INDEX[table]]
        if any(column.null_count for column in columns):
            raise DataError(f"{self.file(table)}: {' or '.join(INDEX[table])} has empty cells")
        ranges: dict[tuple[str, ...], tuple[int, int]] = {}
        plain: set[str] = set()
        last, first = None, 0
        for chunks in zip(*(column.chunks for column in columns), strict=True):
            indices = [chunk.indices.to_numpy() for chunk in chunks]
            texts = [chunk.dictionary.to_pylist() for chunk in chunks]
            changes = np.any([np.diff(index) != 0 for index in indices], axis=0)
            starts = np.array([0, *(np.flatnonzero(changes) + 1)] if len(chunks[0]) else [], int)
            counts = np.diff([*starts, len(chunks[0])])
            pairs = zip(texts, indices, strict=True)
            picked = [[words[i] for i in index[starts]] for words, index in pairs]
            new = {*chain(*texts)} - plain
            if odd := [name for name in new if not _is_plain(name)]:
                raise DataError(f"{self.file(table)}: {min(odd)!r} is no file's name")
            plain |= new
            for *names, start, count in zip(*picked, starts.tolist(), counts.tolist(), strict=True):
                index_of = tuple(names)
                if index_of == last:
                    count += ranges[index_of][1]
                    start = ranges[index_of][0] - first
                elif index_of in ranges:
                    what = f"{' '.join(names)!r} stands in two places"
                    raise DataError(f"{self.file(table)}: {what}")
                ranges[index_of] = (first + start, count)
                last = index_of
            first += len(chunks[0])
        return ranges

    def rows(self) -> pa.Table:
        """The rows of all results; texts as indices into dictionaries."""
        self.ranges("rows")  # which finds what cannot be read
        self._load("rows", self._stored["rows"])
        return pa.table({name: self._columns["rows", name] for name in self._stored["rows"]})

    def column(self, table: str, name: str) -> pa.ChunkedArray:
        """A column of a table, of all runs; texts as indices into one dictionary."""
        self._load(table, [name])
        return self._columns[table, name].unify_dictionaries()

    def _load(self, table: str, columns: Sequence[str]) -> None:
        missing = [name for name in columns if (table, name) not in self._columns]
        if not missing:
            return
        try:
            parquet = self._opened(table)
            batches = [*folded_batches(self._buffers[table], parquet, missing)]
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(table, error) from None
        for name in missing:
            chunks = [batch.column(name) for batch in batches]
            kind = parquet.schema_arrow.field(name).type if not chunks else None
            self._columns[table, name] = pa.chunked_array(chunks, kind)

    def _opened(self, table: str) -> pq.ParquetFile:
        try:
            if table not in self._buffers:  # Arrow opens no path that is not UTF-8
                self._buffers[table] = pa.py_buffer(self.file(table).read_bytes())
            parquet = open_parquet(self._buffers[table])
        except (OSError, ValueError, pa.ArrowException, DataError) as error:
            raise self._unreadable(table, error) from None
        metadata = parquet.metadata
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        values = (g.column(i).num_values for g in groups for i in range(g.num_columns))
        if max(values, default=0) > MOST_PACKED_ROWS or size > MOST_BYTES:
            most = f"{MOST_PACKED_ROWS:,} values in a column and {MOST_BYTES:,} bytes at the most"
            raise DataError(f"{self.file(table)}: {most}")
        names = self._stored[table] = parquet.schema_arrow.names
        known = [field for field in TABLES[table] if field.name in names or field.name not in LATER]
        if not parquet.schema_arrow.equals(pa.schema(known)):
            columns = ", ".join(f"{field.name} {field.type}" for field in TABLES[table])
            raise DataError(f"{self.file(table)}: other columns than {columns}")
        return parquet

    def _unreadable(self, table: str, error: Exception) -> DataError:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return DataError(f"{self.file(table)}: Not a readable Parquet file: {reason}")


def _is_plain(name: str) -> bool:
    return all(PLAIN.fullmatch(part) for part in name.split("/")) and name.count("/") < 2


def packs_of(results: Path, faults: list[DataError] | None = None) -> list[Pack]:
    """The packs of a results folder; those that cannot be read are added to `faults`.

    Without it the first of them is an error.
    """
    folder = results / FOLDER
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    packs = []
    for name in names:
        if (folder / name).is_dir():
            try:
                pack = _pack(folder / name, _stamp(folder / name))
                _ = pack.keys
                packs.append(pack)
            except DataError as fault:
                if faults is None:
                    raise
                faults.append(fault)
    return packs


@lru_cache(8)
def _pack(folder: Path, _stamp: tuple[Any, ...]) -> Pack:
    return Pack(folder)


def _stamp(folder: Path) -> tuple[Any, ...]:
    files = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return tuple((f.name, f.stat().st_mtime_ns, f.stat().st_size, f.inode()) for f in files)


def stored_run(results: Path, key: str, packs: Sequence[Pack] | None = None) -> Traversable:
    """Where a run's files are read: its folder if that has a result, or a pack that has the run.

    Else its folder.

    `packs` of the results folder, where they are at hand.
    """
    if not os.path.lexists(os.path.join(results, "runs", key, RESULT)):
        for pack in packs_of(results, []) if packs is None else packs:
            if key in pack.keys:
                return PackedPath(pack, key)
    return results / "runs" / key
