"""Examples that lie in files: memory-mapped, made into objects only where they are looked at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from vlbench.data.example import Example
from vlbench.data.rows import LOOKED_AT, SCHEMA, examples_of
from vlbench.errors import DataError, MissingError

AT_A_TIME = 1024
"""Examples that an iteration takes from the files at once."""
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

    @property
    def is_whole(self) -> bool:
        """Whether it is all examples of its files, as they lie there."""
        return isinstance(self._rows, range) and self._rows == range(len(self._files))

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> ExampleTable: ...
    def __getitem__(self, index: int | slice) -> Example | ExampleTable:
        found = self._rows[index]
        if isinstance(index, slice):
            return ExampleTable(self._files, found)  # type: ignore[arg-type]
        row = int(found)  # type: ignore[arg-type]
        return next(self._files.examples(range(row, row + 1)))

    def __iter__(self) -> Iterator[Example]:
        return self._files.examples(self._rows)

    def take(self, indices: ArrayLike) -> ExampleTable:
        """The examples at these places, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ExampleTable(self._files, _array(self._rows)[chosen])

    def images(self) -> list[str]:
        """The ids of the pictures or clips, each once, in the order of the examples."""
        ids = [piece.flatten() for piece in self._files.column("images", self._rows)]
        found: list[str] = pa.chunked_array(ids, pa.string()).unique().to_pylist()
        return found

    def image_counts(self) -> NDArray[np.int64]:
        """(examples,): how many pictures or clips each has."""
        pieces = self._files.column("images", self._rows)
        counts = [count for piece in pieces for count in piece.value_lengths().to_pylist()]
        return np.array(counts, dtype=np.int64)

    def families(self) -> list[str]:
        """The family of each example."""
        found: list[str] = []
        for piece in self._files.column("family", self._rows):
            coded = piece.dictionary_encode()
            names = coded.dictionary.to_pylist()
            found += [names[code] for code in coded.indices.to_pylist()]
        return found


def concatenate(tables: Sequence[ExampleTable]) -> ExampleTable:
    """The examples of all the tables, in their order."""
    filled = [table for table in tables if len(table)]
    if len(filled) == 1:
        return filled[0]
    files = Files([path for table in filled for path in table._files.paths])
    if all(table.is_whole for table in filled):
        return ExampleTable(files)
    starts = np.cumsum([0, *(len(table._files) for table in filled)])
    rows = [_array(table._rows) + start for table, start in zip(filled, starts, strict=False)]
    return ExampleTable(files, np.concatenate(rows))


class Files:
    """Files of examples, one after the other; where unpickled they are opened anew by path."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.batches: list[Any] = []
        self.starts = [0]
        """The row at which each record batch begins; at last the number of rows."""
        self.origins: list[int] = []
        """The row at which the file of each batch begins."""
        for path in self.paths:
            origin = len(self)
            for batch in _mapped(path):
                self.batches.append(batch)
                self.starts.append(len(self) + len(batch))
                self.origins.append(origin)

    def __len__(self) -> int:
        return self.starts[-1]

    def __reduce__(self) -> tuple[type[Files], tuple[tuple[Path, ...]]]:
        return Files, (self.paths,)

    def examples(self, rows: Rows) -> Iterator[Example]:
        """The examples in these rows."""
        for start in range(0, len(rows), AT_A_TIME):
            pieces = list(self._pieces(rows[start : start + AT_A_TIME], LOOKED_AT))
            origins = [origin for origin, piece in pieces for _ in range(len(piece))]
            try:
                columns = pa.concat_batches([piece for _, piece in pieces])
                yield from examples_of(columns, origins, self._context)
            except (ValueError, IndexError) as error:
                shown = " or ".join(map(str, self.paths))
                raise DataError(f"{shown}: damaged. Remove it; it is made again.") from error

    def column(self, name: str, rows: Rows) -> Iterator[Any]:
        """The arrays that make up a column of these rows."""
        for _, piece in self._pieces(rows, [name]):
            yield piece.column(0)

    def _pieces(self, rows: Rows, columns: list[str]) -> Iterator[tuple[int, Any]]:
        """(first row of the file, record batch) of every run of rows that lie side by side."""
        wanted = _array(rows)
        if not len(wanted):
            return
        places = np.searchsorted(self.starts, wanted, side="right") - 1
        ends = np.flatnonzero((np.diff(wanted) != 1) | (np.diff(places) != 0)) + 1
        batches: dict[int, Any] = {}
        for start, end in pairwise([0, *ends.tolist(), len(wanted)]):
            place = int(places[start])
            if place not in batches:
                batches[place] = self.batches[place].select(columns)
            first = int(wanted[start]) - self.starts[place]
            yield self.origins[place], batches[place].slice(first, end - start)

    def _context(self, row: int) -> str:
        place = bisect_right(self.starts, row) - 1
        text: str = self.batches[place].column("context")[row - self.starts[place]].as_py()
        return text


def _mapped(path: Path) -> list[Any]:
    """The record batches of a file, which is not read."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != SCHEMA:
            raise pa.ArrowInvalid(f"its columns are {', '.join(reader.schema.names)}")
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file: the cache was emptied meanwhile") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged: {error}") from None
    return batches


def _array(rows: Rows) -> NDArray[np.int64]:
    if isinstance(rows, range):
        return np.arange(rows.start, rows.stop, rows.step)
    return rows
