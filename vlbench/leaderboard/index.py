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

from vlbench.columns import result_schema
from vlbench.errors import MissingError
from vlbench.files import cache_folder, write_atomically

VERSION = 2
METADATA = b"vlbench.index"
RACY_NS = 2_000_000_000


class Part(NamedTuple):
    """A run's rows, and what its file looked like when they were read."""

    size: int
    changed_ns: int
    rows: pa.Table


class Look(NamedTuple):
    """A file's size and time, as they were when it was looked at, before it is read."""

    size: int
    changed_ns: int
    is_young: bool
    """Another write may leave the same size and time."""

    @classmethod
    def at(cls, file: Path) -> Look:
        """Look at a file now: the clock first, so that nothing later seems old."""
        now = time.time_ns()
        told = file.stat()
        return cls(told.st_size, told.st_mtime_ns, told.st_mtime_ns > now - RACY_NS)

    def shows(self, part: Part | None) -> bool:
        """Whether the file is the one that the part was read from."""
        return part is not None and (part.size, part.changed_ns) == (self.size, self.changed_ns)

    def part(self, rows: pa.Table) -> Part:
        """What was read after this look; a file that was too young has no time to be known by."""
        return Part(self.size, 0 if self.is_young else self.changed_ns, rows)


def load(folder: Path) -> dict[str, Part]:
    """What is known of a results folder's runs, by the names of their folders."""
    try:
        table = pq.read_table(index_file(folder))
        told = json.loads(table.schema.metadata[METADATA])
        if told["version"] != VERSION:
            return {}
        parts, start = {}, 0
        bare = table.replace_schema_metadata(None)
        if not bare.schema.equals(result_schema()):
            return {}
        for name, size, changed_ns, count in told["runs"]:
            parts[name] = Part(size, changed_ns, bare.slice(start, count))
            start += count
        return parts if start == table.num_rows else {}
    except (OSError, MissingError, pa.ArrowException, ValueError, KeyError, TypeError):
        return {}


def store(folder: Path, parts: Sequence[tuple[str, Part]]) -> None:
    """Keep the rows of these runs; where that cannot be written, the next report reads them."""
    runs = [(name, part.size, part.changed_ns, part.rows.num_rows) for name, part in parts]
    told = json.dumps({"version": VERSION, "runs": runs}).encode()
    table = pa.concat_tables([part.rows for _, part in parts]).combine_chunks()
    kept = table.replace_schema_metadata({METADATA: told})
    with suppress(OSError, MissingError):
        write_atomically(
            index_file(folder), lambda path: pq.write_table(kept, path), is_flushed=False
        )


def index_file(folder: Path) -> Path:
    """Where a results folder's index lies."""
    digits = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return cache_folder() / "results" / f"{digits}.parquet"
