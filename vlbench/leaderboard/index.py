"""All rows of a results folder in one file of the cache: those of 10,000 runs are there in seconds.

Only a cache: it may be deleted at any time, is written again where it is torn, foreign or of
another version, and is done without where it cannot be written. A run's rows come from it while
size and time of its `result.parquet` are those they were read with. A file that was younger than
two seconds when it was read is read again: another write may have the same time (as git does).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vlbench.errors import MissingError
from vlbench.files import cache_folder, write_atomically
from vlbench.parquet import result_schema

VERSION = 2
METADATA = b"vlbench.index"
RACY_NS = 2_000_000_000


class Part(NamedTuple):
    """A run's rows, and size and time of its file when they were read."""

    size: int
    changed_ns: int
    rows: pa.Table


class Stamp(NamedTuple):
    """Size and time of a file before it is read."""

    size: int
    changed_ns: int
    is_young: bool
    """Whether another write may leave the same size and time."""

    @classmethod
    def of(cls, file: Path) -> Stamp:
        """Read the stamp of a file: the clock first, so that nothing later seems old."""
        now = time.time_ns()
        stat = file.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_mtime_ns > now - RACY_NS)

    def part(self, rows: pa.Table) -> Part:
        """Make the part of rows read after this stamp; a young file gets no time to match."""
        return Part(self.size, 0 if self.is_young else self.changed_ns, rows)


def load(folder: Path) -> dict[str, Part]:
    """Read what is known of a results folder's runs, by the names of their folders."""
    try:
        table = pq.read_table(index_file(folder))
        header = json.loads(table.schema.metadata[METADATA])
        table = table.replace_schema_metadata(None)
        if header["version"] != VERSION or not table.schema.equals(result_schema()):
            return {}
        parts, start = {}, 0
        for name, size, changed_ns, count in header["runs"]:
            parts[name] = Part(size, changed_ns, table.slice(start, count))
            start += count
        return parts if start == table.num_rows else {}
    except (OSError, MissingError, pa.ArrowException, ValueError, KeyError, TypeError):
        return {}


def store(folder: Path, parts: Sequence[tuple[str, Part]]) -> None:
    """Keep the rows of these runs; where that cannot be written, the next report reads them."""
    runs = [(name, part.size, part.changed_ns, part.rows.num_rows) for name, part in parts]
    header = json.dumps({"version": VERSION, "runs": runs}).encode()
    table = pa.concat_tables([part.rows for _, part in parts]).combine_chunks()
    table = table.replace_schema_metadata({METADATA: header})
    with suppress(OSError, MissingError):
        write_atomically(
            index_file(folder), lambda path: pq.write_table(table, path), is_flushed=False
        )


def index_file(folder: Path) -> Path:
    """Path of a results folder's index in the cache."""
    digits = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return cache_folder() / "results" / f"{digits}.parquet"
