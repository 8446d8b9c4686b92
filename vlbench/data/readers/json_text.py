"""A JSON file read record by record: the largest are a gigabyte, and a record is all one needs.

The outermost list or object, and the lists right in that object, are gone through; everything
deeper is decoded at once. Not by ijson 3.6 (yajl2_c): 1.3 to 1.5 times as long for VQAv2's
annotations, no positions in messages, half a character silently becomes `?`, whole numbers beyond
64 bits are refused, and 100,000 nested lists fill the memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TextIO

from vlbench.data.faults import excerpt
from vlbench.errors import DataError
from vlbench.files import open_data

PIECE = 1 << 22
"""Characters that are read at a time."""
DECODER = json.JSONDecoder()
AFTER = tuple(" \t\n\r,:]}")
"""What may stand behind a value: then it is read to its end."""
SPACES = re.compile(r"[ \t\n\r]*")


class JSONText:
    """Position in a JSON text of which only a piece is in memory."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.piece = ""
        self.at = 0
        self.before = 0
        """Characters before the piece."""

    def next(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            self.at = SPACES.match(self.piece, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.piece):
                return self.piece[self.at]
            if not self._read_more():
                return ""

    def take(self, wanted: str) -> str:
        """Go past the next character that is no space, one of `wanted`."""
        character = self.next()
        if not character or character not in wanted:
            expected = " or ".join(map(repr, wanted))
            raise JSONDecodeError(f"Expecting {expected}", self.piece, self.at)
        self.at += 1
        return character

    def value(self) -> Any:
        """Decode the value that begins here, and go past it."""
        self.next()
        while True:
            try:
                value, end = DECODER.raw_decode(self.piece, self.at)
            except JSONDecodeError:
                if self._read_more():
                    continue
                raise
            if self.piece[end : end + 1] not in AFTER and self._read_more():  # 1 of 12, or of 1e3
                continue
            self.at = end
            return value

    def items(self, begin: str, end: str) -> Iterator[None]:
        """Stop at the beginning of every element of a list, or member of an object."""
        self.take(begin)
        if self.next() == end:
            self.take(end)
            return
        while True:
            yield
            if self.take(f",{end}") == end:
                return

    def elements(self) -> Iterator[Any]:
        """The values of the list that begins here."""
        for _ in self.items("[", "]"):
            yield self.value()

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here; the caller reads the value behind each."""
        for _ in self.items("{", "}"):
            if self.next() != '"':
                self.take('"')
            key = self.value()
            self.take(":")
            yield key

    def require(self, begin: str, fault: str) -> None:
        """Raise DataError where another value than a list or object begins here."""
        if self.next() in (begin, ""):
            return
        while len(self.piece) <= self.at + 60 and self._read_more():
            pass
        try:
            start = excerpt(DECODER.raw_decode(self.piece, self.at)[0])
        except JSONDecodeError:  # a long one, of which this is the beginning
            start = self.piece[self.at : self.at + 60] + "..."
        raise DataError(f"{fault}, found {start}")

    def _read_more(self) -> bool:
        """Read on, as much again as there is, so that a long value is not decoded often."""
        rest = self.piece[self.at :]
        read = self.file.read(max(PIECE, len(rest)))
        if read:
            self.before += self.at
            self.piece, self.at = rest + read, 0
        return bool(read)


@contextmanager
def open_json(path: Path) -> Iterator[JSONText]:
    """A JSON file to go through to its end; whatever is no JSON in it is a DataError."""
    with (
        open_data(path) as data,
        TextIOWrapper(data, encoding="utf-8-sig", newline="") as file,
    ):
        text = JSONText(file)
        try:
            yield text
            if text.next():
                raise JSONDecodeError("Extra data", text.piece, text.at)
        except JSONDecodeError as error:
            position = f"character {text.before + error.pos + 1:,}"
            raise DataError(f"{path}: not valid JSON: {error.msg}: {position}") from None
        except (UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{path}: not valid JSON: {error}") from None


def read_list(path: Path, key: str = "") -> Iterator[Any]:
    """The elements of the list under `key` of a JSON file's object, or of the list it is."""
    with open_json(path) as text:
        if not key:
            text.require("[", f"{path}: should be a list")
            yield from text.elements()
            return
        text.require("{", f"{path}: should be an object")
        is_missing = True
        for member in text.members():
            if member == key:
                is_missing = False
                text.require("[", f"{path}: '{key}' should be a list")
                yield from text.elements()
            elif text.next() == "[":  # may be all of the file
                for _ in text.elements():
                    pass
            else:
                text.value()
        if is_missing:
            raise DataError(f"{path}: '{key}' is missing")


def read_table(path: Path, by: str) -> Iterator[tuple[str, Any]]:
    """The keys and values of the object that a JSON file is; a key may come twice."""
    with open_json(path) as text:
        text.require("{", f"{path}: should be an object by {by}")
        for key in text.members():
            yield key, text.value()
