"""Examples in memory-mapped Arrow files: a split is parsed once, then opened from the cache.

A row is an example, a column a field of it. The subtitles of a clip, which many examples share,
stand in the row of the first one only; `context_row` refers to it, and is -1 without a context.

A cached table belongs to the contents of the split's files and to the code that reads them: where
either changes, the split is read anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from vlbench.data import readers
from vlbench.data.example import Example
from vlbench.data.faults import excerpt
from vlbench.data.fingerprint import fingerprint
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
VERSION = 1
"""Of the columns and what they mean."""
DECODED = [name for name in SCHEMA.names if name != "context"]
"""Columns that are read with an example; its context is looked up."""
BATCH_ROWS = 4096
AT_A_TIME = 1024
"""Examples that an iteration decodes at once."""
LIMIT_SEED = 20220619
"""The same sample for every method and seed."""
Rows = range | NDArray[np.int64]


class ExampleTable(Sequence[Example]):
    """Examples of one or more files; a slice or choice of them is a table too, and copies none."""

    def __init__(self, files: Files, rows: Rows | None = None) -> None:
        self._files = files
        self._rows = range(len(files)) if rows is None else rows

    @classmethod
    def open(cls, path: Path) -> Self:
        """The examples in `path`; MissingError if there is no file, DataError if it is damaged."""
        return cls(Files([path]))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> ExampleTable: ...
    def __getitem__(self, index: int | slice) -> Example | ExampleTable:
        if isinstance(index, slice):
            return ExampleTable(self._files, self._rows[index])
        row = int(self._rows[index])
        return next(self._files.examples(range(row, row + 1)))

    def __iter__(self) -> Iterator[Example]:
        return self._files.examples(self._rows)

    def take(self, indices: ArrayLike) -> ExampleTable:
        """The examples with these indices, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ExampleTable(self._files, _array(self._rows)[chosen])

    def images(self) -> list[str]:
        """The ids of the pictures or clips, without duplicates, in the order of the examples."""
        ids = [piece.flatten() for piece in self._files.column("images", self._rows)]
        unique: list[str] = pa.chunked_array(ids, pa.string()).unique().to_pylist()
        return unique

    def image_counts(self) -> NDArray[np.int64]:
        """(examples,): how many pictures or clips each has."""
        pieces = self._files.column("images", self._rows)
        counts = [count for piece in pieces for count in piece.value_lengths().to_pylist()]
        return np.array(counts, dtype=np.int64)

    def families(self) -> list[str]:
        """The family of each example."""
        families: list[str] = []
        for piece in self._files.column("family", self._rows):
            coded = piece.dictionary_encode()
            names = coded.dictionary.to_pylist()
            families += [names[code] for code in coded.indices.to_pylist()]
        return families


def concatenate(tables: Sequence[ExampleTable]) -> ExampleTable:
    """The examples of all the tables, in their order."""
    filled = [table for table in tables if len(table)]
    if len(filled) == 1:
        return filled[0]
    files = Files([path for table in filled for path in table._files.paths])
    starts = np.cumsum([0, *(len(table._files) for table in filled)])
    rows = [_array(table._rows) + start for table, start in zip(filled, starts, strict=False)]
    return ExampleTable(files, np.concatenate(rows) if rows else None)


class Files:
    """Files of examples, one after the other; where unpickled they are opened anew by path."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.batches: list[Any] = []
        self.starts = [0]
        """The row at which each record batch begins; at last the number of rows."""
        self.file_starts: list[int] = []
        """The row at which the file of each batch begins."""
        for path in self.paths:
            file_start = len(self)
            for batch in _mapped(path):
                self.batches.append(batch)
                self.starts.append(len(self) + len(batch))
                self.file_starts.append(file_start)

    def __len__(self) -> int:
        return self.starts[-1]

    def __reduce__(self) -> tuple[type[Files], tuple[tuple[Path, ...]]]:
        return Files, (self.paths,)

    def examples(self, rows: Rows) -> Iterator[Example]:
        """The examples in these rows."""
        for start in range(0, len(rows), AT_A_TIME):
            pieces = list(self._pieces(rows[start : start + AT_A_TIME], DECODED))
            file_starts = [file_start for file_start, piece in pieces for _ in range(len(piece))]
            try:
                columns = pa.concat_batches([piece for _, piece in pieces]).columns
                yield from self._decoded(columns, file_starts)
            except (ValueError, IndexError) as error:
                files = " or ".join(map(str, self.paths))
                raise DataError(f"{files}: damaged. Remove it; it is made again.") from error

    def column(self, name: str, rows: Rows) -> Iterator[Any]:
        """The arrays that make up a column of these rows."""
        for _, piece in self._pieces(rows, [name]):
            yield piece.column(0)

    def _decoded(self, columns: Sequence[Any], file_starts: Sequence[int]) -> Iterator[Example]:
        """The examples of the columns DECODED, whose files begin at these rows."""
        contexts = {-1: ""}
        values = zip(*(column.to_pylist() for column in columns), strict=True)
        for file_start, (name, text, images, answers, scores, annotation, family, context) in zip(
            file_starts, values, strict=True
        ):
            row = file_start + context if context >= 0 else -1
            if row not in contexts:
                number = bisect_right(self.starts, row) - 1
                batch = self.batches[number].column("context")
                contexts[row] = batch[row - self.starts[number]].as_py()
            yield Example(
                id=name,
                text=text,
                images=tuple(images),
                targets=dict(zip(answers, scores, strict=True)),
                annotation=json.loads(annotation) if annotation else {},
                family=family,
                context=contexts[row],
            )

    def _pieces(self, rows: Rows, columns: list[str]) -> Iterator[tuple[int, Any]]:
        """(first row of the file, record batch) of every run of rows that lie side by side."""
        wanted = _array(rows)
        if not len(wanted):
            return
        numbers = np.searchsorted(self.starts, wanted, side="right") - 1
        ends = np.flatnonzero((np.diff(wanted) != 1) | (np.diff(numbers) != 0)) + 1
        batches: dict[int, Any] = {}
        for start, end in pairwise([0, *ends.tolist(), len(wanted)]):
            number = int(numbers[start])
            if number not in batches:
                batches[number] = self.batches[number].select(columns)
            first = int(wanted[start]) - self.starts[number]
            yield self.file_starts[number], batches[number].slice(first, end - start)


def _mapped(path: Path) -> list[Any]:
    """The record batches of a file, memory-mapped."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != SCHEMA:
            raise pa.ArrowInvalid(f"its columns are {', '.join(reader.schema.names)}")
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file: the cache was emptied meanwhile") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged: {error}") from None


def _array(rows: Rows) -> NDArray[np.int64]:
    if isinstance(rows, range):
        return np.arange(rows.start, rows.stop, rows.step)
    return rows


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
    if json.loads(_annotation(first) or "{}") != first.annotation:
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
            _annotation(example),
            example.family,
            contexts.setdefault(example.context, row),
            example.context if contexts[example.context] == row else "",
        )
        for row, example in enumerate(examples, start)
    ]
    try:
        columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
        return pa.record_batch(columns, SCHEMA)
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise DataError(
            f"One of the examples {first.id} to {examples[-1].id} has a field of another "
            f"type than Example says, or half a character: {error}"
        ) from None


def _annotation(example: Example) -> str:
    """The annotation as JSON; empty where there is none."""
    if not example.annotation:
        return ""
    try:
        return json.dumps(example.annotation, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"Example {example.id}: its annotation cannot be kept as JSON: {error}"
        ) from None


def indexed(reader: Reader, split: str, train: bool) -> ExampleTable:
    """The examples of `read_train`, or `read`: from the cache where the split was read before.

    Faults of the files are raised as the reader lists them, and nothing is kept then.
    """
    missing = reader.missing_files(split)
    if missing:
        raise missing_data(missing)
    files = reader.files(split)
    before = fingerprint(files, reader.folder)
    path = _cached_file(reader, split, train, before)
    if files and reader.is_indexed and path.is_file():
        try:
            return ExampleTable.open(path)
        except (DataError, MissingError):  # made again
            pass
    examples = reader.read_train(split) if train else reader.read(split)
    if fingerprint(files, reader.folder) != before:
        names = ", ".join(map(str, files))
        raise DataError(f"{names}: changed while being read: start the same command again.")
    with writing_cache():
        write_examples(path, examples)
    return ExampleTable.open(path)


def _cached_file(reader: Reader, split: str, train: bool, contents: str) -> Path:
    """The table of a split whose files have these contents."""
    kind = type(reader)
    parts = [VERSION, kind.__module__, kind.__qualname__, _code(kind), split, train, contents]
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    return cache_folder() / "index" / f"{kind.__name__}-{key[:32]}.arrow"


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
