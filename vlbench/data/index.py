"""The example index: a split is parsed once, then opened from an Arrow file in the cache.

An index belongs to the contents of the split's files and to the code that reads them: where either
changes, the split is read anew. Faults of the files are told as the reader tells them, and nothing
is kept then.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path

from vlbench.data import readers
from vlbench.data.fingerprint import fingerprint
from vlbench.data.readers.base import Reader, missing_data
from vlbench.data.rows import write_examples
from vlbench.data.table import ExampleTable
from vlbench.errors import DataError, MissingError
from vlbench.files import cache_folder, writing_cache

VERSION = 1
"""Of the file's columns and what they mean."""


def indexed(reader: Reader, split: str, train: bool) -> ExampleTable:
    """What `read_train`, or `read`, gives of a split: from the cache where it was read before."""
    missing = reader.missing_files(split)
    if missing:
        raise missing_data(missing)
    files = reader.files(split)
    before = fingerprint(files, reader.folder)
    path = _place(reader, split, train, before)
    if files and reader.is_indexed and path.is_file():
        try:
            return ExampleTable.open(path)
        except (DataError, MissingError):  # made again
            pass
    examples = reader.read_train(split) if train else reader.read(split)
    if fingerprint(files, reader.folder) != before:
        shown = ", ".join(map(str, files))
        raise DataError(f"{shown}: changed while being read: start the same command again.")
    with writing_cache():
        write_examples(path, examples)
    return ExampleTable.open(path)


def _place(reader: Reader, split: str, train: bool, contents: str) -> Path:
    """The index of a split whose files have these contents."""
    kind = type(reader)
    parts = [VERSION, kind.__module__, kind.__qualname__, _code(kind), split, train, contents]
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    return cache_folder() / "index" / f"{kind.__name__}-{key[:32]}.arrow"


@cache
def _code(kind: type[Reader]) -> str:
    """sha256 over the code of our readers, and that of a reader from elsewhere."""
    files = set(Path(readers.__path__[0]).glob("*.py"))
    for each in kind.__mro__:
        file = getattr(sys.modules.get(each.__module__), "__file__", None)
        if issubclass(each, Reader) and file:
            files.add(Path(file))
    return fingerprint(files)
