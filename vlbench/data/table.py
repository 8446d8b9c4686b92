"""Examples in memory-mapped Arrow files: a split is parsed once, then opened from the cache.

A row is an example, a column a field of it; the subtitles of a clip, which many examples share, are
stored once. A cached table belongs to the contents of the split's files and to the code that reads
them: where either changes, the split is read anew.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from vlbench.data import readers
from vlbench.data.example import Example
from vlbench.data.hashes import fingerprint
from vlbench.data.readers.base import Reader, missing_data
from vlbench.errors import DataError, MissingError
from vlbench.files import cache_folder, write_atomically, writing_cache

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "text": pa.large_string(),
        "images": pa.list_(pa.string()),
        "answers": pa.list_(pa.string()),
        "scores": pa.list_(pa.float64()),
        "annotation": pa.large_string(),
        "family": pa.string(),
        "context": pa.dictionary(pa.int32(), pa.large_string()),
    }
)
VERSION = 2  # of the columns and what they mean
AT_A_TIME = 1024  # examples that an iteration decodes at once
LIMIT_SEED = 20220619  # the same sample for every method and seed
Rows = NDArray[np.int64]


class ExampleTable(Sequence[Example]):
    """Examples of one or more files; a slice or choice of them is a table too, and copies none."""

    def __init__(self, files: Sequence[Any] = (), rows: Rows | None = None) -> None:
        self._files = files  # a record batch each
        self._starts = np.cumsum([0, *map(len, files)])
        self._rows = np.arange(self._starts[-1]) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> ExampleTable: ...
    def __getitem__(self, index: int | slice) -> Example | ExampleTable:
        if isinstance(index, slice):
            return ExampleTable(self._files, self._rows[index])
        return self._examples(self._rows[[index]])[0]

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), AT_A_TIME):
            yield from self._examples(self._rows[start : start + AT_A_TIME])

    def take(self, indices: ArrayLike) -> ExampleTable:
        """The examples with these indices, in this order."""
        return ExampleTable(self._files, self._rows[np.asarray(indices, dtype=np.int64)])

    def images(self) -> list[str]:
        """The ids of the pictures or clips, without duplicates."""
        ids = [part["images"].flatten() for _, part in self._parts(self._rows, ["images"])]
        unique: list[str] = pa.chunked_array(ids, pa.string()).unique().to_pylist()
        return unique

    def families(self) -> list[str]:
        """The family of each example."""
        names = np.empty(len(self), object)
        for at, part in self._parts(self._rows, ["family"]):
            names[at] = part["family"].to_pylist()
        return list(names)

    def _parts(self, rows: Rows, columns: list[str]) -> Iterator[tuple[Rows, Any]]:
        """(positions among the rows, record batch of these) of each file."""
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            indices = pa.py_buffer(rows[at] - self._starts[number])  # pa.array would import pandas
            chosen = pa.Array.from_buffers(pa.int64(), len(at), [None, indices])
            yield at, self._files[number].select(columns).take(chosen)

    def _examples(self, rows: Rows) -> list[Example]:
        """The examples in these rows, decoded at once."""
        examples = np.empty(len(rows), object)
        contexts: dict[str, str] = {}
        for at, part in self._parts(rows, SCHEMA.names):
            examples[at] = [
                Example(
                    id=row["id"],
                    text=row["text"],
                    images=tuple(row["images"]),
                    targets=dict(zip(row["answers"], row["scores"], strict=True)),
                    annotation=json.loads(row["annotation"]) if row["annotation"] else {},
                    family=row["family"],
                    context=contexts.setdefault(row["context"], row["context"]),
                )
                for row in part.to_pylist()
            ]
        return list(examples)


def concatenate(tables: Sequence[ExampleTable]) -> ExampleTable:
    """The examples of all the tables, in their order."""
    starts = np.cumsum([0, *(table._starts[-1] for table in tables)])
    rows = [table._rows + start for table, start in zip(tables, starts, strict=False)]
    files = [file for table in tables for file in table._files]
    return ExampleTable(files, np.concatenate([starts[:0], *rows]))


def read_examples(path: Path) -> ExampleTable:
    """The examples of a file, memory-mapped; DataError where it is absent or damaged."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != SCHEMA:
            raise ValueError(f"its columns are {', '.join(reader.schema.names)}")
        return ExampleTable([reader.get_batch(0)])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged: {error}") from None


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write a file of the examples; it appears whole or not at all."""
    try:
        columns = {
            "id": [example.id for example in examples],
            "text": [example.text for example in examples],
            "images": [example.images for example in examples],
            "answers": [list(example.targets) for example in examples],
            "scores": [list(example.targets.values()) for example in examples],
            "annotation": [json.dumps(e.annotation) if e.annotation else "" for e in examples],
            "family": [example.family for example in examples],
            "context": [example.context for example in examples],
        }
        batch = pa.record_batch(columns, SCHEMA)
    except (TypeError, ValueError) as error:
        what = f"an example has a field of another type than Example says: {error}"
        raise DataError(f"{path.name}: {what}") from None

    def write(beside: Path) -> None:
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_batch(batch)

    write_atomically(path, write)


def indexed(reader: Reader, split: str, train: bool) -> ExampleTable:
    """The examples of `Reader.read`: from the cache where the split was read before.

    Faults of the files are raised as the reader lists them, and nothing is kept then.
    """
    if missing := reader.missing_files(split):
        raise missing_data(missing)
    files, kind = reader.files(split), type(reader)
    contents = fingerprint(files, reader.folder)
    parts = [VERSION, kind.__module__, kind.__qualname__, _code(kind), split, train, contents]
    parts.append(reader.settings)
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    path = cache_folder() / "index" / f"{kind.__name__}-{key[:32]}.arrow"
    if files and reader.is_indexed:
        with suppress(MissingError):  # absent or damaged
            return read_examples(path)
    examples = reader.read(split, for_training=train)
    with writing_cache():
        write_examples(path, examples)
    return read_examples(path)


@cache
def _code(kind: type[Reader]) -> str:
    """sha256 over the code of our readers, and that of a reader from elsewhere."""
    own = {Path(inspect.getfile(base)) for base in kind.__mro__ if issubclass(base, Reader)}
    return fingerprint({*Path(readers.__path__[0]).glob("*.py"), *own})


def limited(examples: ExampleTable, limit: int | None) -> ExampleTable:
    """At most `limit` examples, drawn family by family in proportion, in their old order."""
    if limit is None or len(examples) <= limit:
        return examples
    members: dict[str, list[int]] = defaultdict(list)
    for index, family in enumerate(examples.families()):
        members[family].append(index)
    random = Random(LIMIT_SEED)
    ranked: list[tuple[float, int]] = []
    for of_family in members.values():
        random.shuffle(of_family)
        ranked += [((rank + 0.5) / len(of_family), index) for rank, index in enumerate(of_family)]
    return examples.take(sorted(index for _, index in sorted(ranked)[:limit]))
