"""Examples in memory-mapped Arrow files: a split is parsed once, then opened from the cache.

A row is an example, a column a field of it. The subtitles of a clip, which many examples share,
stand in the row of the first one only; `context_row` refers to it, and is -1 without a context.

A cached table belongs to the contents of the split's files and to the code that reads them: where
either changes, the split is read anew.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from vlbench.data import readers
from vlbench.data.example import Example, excerpt
from vlbench.data.readers.base import Reader, missing_data
from vlbench.errors import DataError, MissingError
from vlbench.files import cache_folder, write_atomically, writing_cache

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "text": pa.string(),
        "images": pa.list_(pa.string()),
        "answers": pa.list_(pa.string()),
        "scores": pa.list_(pa.float64()),
        "annotation": pa.string(),
        "family": pa.string(),
        "context_row": pa.int64(),
        "context": pa.string(),
    }
)
VERSION = 1  # of the columns and what they mean
DECODED = [name for name in SCHEMA.names if name != "context"]
"""Columns that are read with an example; its context is looked up."""
BATCH_ROWS = 4096
AT_A_TIME = 1024  # examples that an iteration decodes at once
LIMIT_SEED = 20220619  # the same sample for every method and seed
REMEMBERED_FROM = 1 << 22
"""Hashes of files from this size in bytes are remembered in the cache by path, size and time."""
Rows = NDArray[np.int64]


class ExampleTable(Sequence[Example]):
    """Examples of one or more files; a slice or choice of them is a table too, and copies none.

    MissingError where a file is missing, DataError where it is damaged.
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self._batches: list[Any] = []
        self._starts = [0]  # the row at which each record batch begins; at last the number of rows
        self._file_starts: list[int] = []  # the row at which the file of each batch begins
        for path in paths:
            file_start = self._starts[-1]
            for batch in _mapped(path):
                self._batches.append(batch)
                self._file_starts.append(file_start)
                self._starts.append(self._starts[-1] + len(batch))
        self._rows: Rows = np.arange(self._starts[-1])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> ExampleTable: ...
    def __getitem__(self, index: int | slice) -> Example | ExampleTable:
        if isinstance(index, slice):
            return self._with(self._rows[index])
        return next(self._examples(self._rows[[index]]))

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), AT_A_TIME):
            yield from self._examples(self._rows[start : start + AT_A_TIME])

    def take(self, indices: ArrayLike) -> ExampleTable:
        """The examples with these indices, in this order."""
        return self._with(self._rows[np.asarray(indices, dtype=np.int64)])

    def images(self) -> list[str]:
        """The ids of the pictures or clips, without duplicates, in the order of the examples."""
        ids = [piece["images"].flatten() for _, piece in self._pieces(self._rows, ["images"])]
        unique: list[str] = pa.chunked_array(ids, pa.string()).unique().to_pylist()
        return unique

    def image_counts(self) -> Rows:
        """(examples,): how many pictures or clips each has."""
        pieces = (piece["images"] for _, piece in self._pieces(self._rows, ["images"]))
        counts = [count for piece in pieces for count in piece.value_lengths().to_pylist()]
        return np.array(counts, dtype=np.int64)  # to_numpy would import pandas

    def families(self) -> list[str]:
        """The family of each example."""
        pieces = self._pieces(self._rows, ["family"])
        return [name for _, piece in pieces for name in piece["family"].to_pylist()]

    def _with(self, rows: Rows) -> ExampleTable:
        table = copy.copy(self)
        table._rows = rows
        return table

    def _pieces(self, rows: Rows, columns: list[str]) -> Iterator[tuple[int, Any]]:
        """(first row of the file, record batch) of every run of rows that lie side by side."""
        if not len(rows):
            return
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        ends = np.flatnonzero((np.diff(rows) != 1) | (np.diff(numbers) != 0)) + 1
        batches: dict[int, Any] = {}
        for start, end in pairwise([0, *ends.tolist(), len(rows)]):
            number = int(numbers[start])
            if number not in batches:
                batches[number] = self._batches[number].select(columns)
            first = int(rows[start]) - self._starts[number]
            yield self._file_starts[number], batches[number].slice(first, end - start)

    def _examples(self, rows: Rows) -> Iterator[Example]:
        """The examples in these rows, decoded at once."""
        pieces = list(self._pieces(rows, DECODED))
        file_starts = [file_start for file_start, piece in pieces for _ in range(len(piece))]
        contexts = {-1: ""}
        try:
            columns = pa.concat_batches([piece for _, piece in pieces]).columns
            values = zip(file_starts, *(column.to_pylist() for column in columns), strict=True)
            for file_start, name, text, images, answers, scores, annotation, family, row in values:
                row = file_start + row if row >= 0 else -1
                if row not in contexts:
                    number = bisect_right(self._starts, row) - 1
                    column = self._batches[number].column("context")
                    contexts[row] = column[row - self._starts[number]].as_py()
                yield Example(
                    id=name,
                    text=text,
                    images=tuple(images),
                    targets=dict(zip(answers, scores, strict=True)),
                    annotation=json.loads(annotation) if annotation else {},
                    family=family,
                    context=contexts[row],
                )
        except (ValueError, IndexError) as error:
            files = " or ".join(map(str, self.paths))
            raise DataError(f"{files}: damaged. Remove it; it is made again.") from error


def _mapped(path: Path) -> Iterator[Any]:
    """The record batches of a file, memory-mapped."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != SCHEMA:
            raise pa.ArrowInvalid(f"its columns are {', '.join(reader.schema.names)}")
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file: the cache was emptied meanwhile") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged: {error}") from None


def concatenate(tables: Sequence[ExampleTable]) -> ExampleTable:
    """The examples of all the tables, in their order."""
    filled = [table for table in tables if len(table)]
    if len(filled) == 1:
        return filled[0]
    starts = np.cumsum([0, *(table._starts[-1] for table in filled)])
    rows = [table._rows + start for table, start in zip(filled, starts, strict=False)]
    together = ExampleTable(*(path for table in filled for path in table.paths))
    return together._with(np.concatenate([together._rows[:0], *rows]))


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write a file of the examples, some thousand at a time; it appears whole or not at all."""

    def write(beside: Path) -> None:
        contexts = {"": -1}
        pending = iter(examples)
        start = 0
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            while group := list(islice(pending, BATCH_ROWS)):
                writer.write_batch(_record_batch(group, start, contexts))
                start += len(group)

    write_atomically(path, write)


def _record_batch(examples: list[Example], start: int, contexts: dict[str, int]) -> Any:
    """The rows from `start` on; `contexts` gives the row of a context, and learns new ones."""
    first = examples[0]  # what one reader's examples hold is of one kind
    annotations = [_as_json(example) for example in examples]
    if json.loads(annotations[0] or "{}") != first.annotation:
        raise DataError(
            f"Example {first.id}: its annotation {excerpt(first.annotation)} is no JSON object: it "
            "may hold texts, numbers, truth values, lists, and objects with texts as keys."
        )
    rows = [
        (
            example.id,
            example.text,
            example.images,
            list(example.targets),
            list(example.targets.values()),
            annotation,
            example.family,
            contexts.setdefault(example.context, row),
            example.context if contexts[example.context] == row else "",
        )
        for row, (example, annotation) in enumerate(zip(examples, annotations, strict=True), start)
    ]
    try:
        columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
        return pa.record_batch(columns, SCHEMA)
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise DataError(
            f"One of the examples {first.id} to {examples[-1].id} has a field of another "
            f"type than Example says, or half a character: {error}"
        ) from None


def _as_json(example: Example) -> str:
    """The annotation; empty where there is none."""
    try:
        return json.dumps(example.annotation, separators=(",", ":")) if example.annotation else ""
    except (TypeError, ValueError) as error:
        raise DataError(
            f"Example {example.id}: its annotation cannot be kept as JSON: {error}"
        ) from None


def indexed(reader: Reader, split: str, train: bool) -> ExampleTable:
    """The examples of `Reader.read`: from the cache where the split was read before.

    Faults of the files are raised as the reader lists them, and nothing is kept then.
    """
    if missing := reader.missing_files(split):
        raise missing_data(missing)
    files, kind = reader.files(split), type(reader)
    contents = fingerprint(files, reader.folder)
    parts = [VERSION, kind.__module__, kind.__qualname__, _code(kind), split, train, contents]
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    path = cache_folder() / "index" / f"{kind.__name__}-{key[:32]}.arrow"
    if files and reader.is_indexed and path.is_file():
        try:
            return ExampleTable(path)
        except MissingError:  # gone or damaged: made again
            pass
    examples = reader.read(split, train)
    if fingerprint(files, reader.folder) != contents:
        names = ", ".join(map(str, files))
        raise DataError(f"{names}: changed while being read: start the same command again.")
    with writing_cache():
        write_examples(path, examples)
    return ExampleTable(path)


@cache
def _code(kind: type[Reader]) -> str:
    """sha256 over the code of our readers, and that of a reader from elsewhere."""
    files = set(Path(readers.__path__[0]).glob("*.py"))
    for base in kind.__mro__:
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        if issubclass(base, Reader) and file:
            files.add(Path(file))
    return fingerprint(files)


def limited(examples: ExampleTable, limit: int | None) -> ExampleTable:
    """At most `limit` examples, drawn family by family in proportion, in their old order."""
    if limit is None or len(examples) <= limit:
        return examples
    members: dict[str, list[int]] = defaultdict(list)
    for index, family in enumerate(examples.families()):
        members[family].append(index)
    random = Random(LIMIT_SEED)
    ranked: list[tuple[float, int]] = []
    for indices in members.values():
        random.shuffle(indices)
        ranked += [((rank + 0.5) / len(indices), index) for rank, index in enumerate(indices)]
    return examples.take(sorted(index for _, index in sorted(ranked)[:limit]))


def fingerprint(files: Iterable[Path], root: Path | None = None) -> str:
    """sha256 over names and contents; names are relative to `root`, else to what they share."""
    paths = sorted({Path(os.path.abspath(file)) for file in files})
    if not paths:
        return hashlib.sha256().hexdigest()
    base = root.absolute() if root else Path(os.path.commonpath([path.parent for path in paths]))
    lines = [f"{file_hash(path)}  {os.path.relpath(path, base)}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 over a file's contents, from the cache where it was computed before."""
    try:
        status, note = path.stat(), None
        if status.st_size >= REMEMBERED_FROM:
            key = f"{path.absolute()}\n{status.st_size}\n{status.st_mtime_ns}"
            note = cache_folder() / "hashes" / hashlib.sha256(key.encode()).hexdigest()
            if note.is_file():
                return note.read_text(encoding="ascii")
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file") from None
    if note:
        with writing_cache():
            write_atomically(note, value)
    return value
