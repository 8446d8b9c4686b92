"""A JSON file read record by record: the largest are a gigabyte, and a record is all one needs.

Its outermost list or object, and the lists right in that object, are gone through; everything
deeper is decoded at once, and forgotten when the caller forgets it.
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
from vlbench.packed_files import open_data

PIECE = 1 << 22
"""Characters that are read at a time."""
DECODER = json.JSONDecoder()
AFTER = tuple(" \t\n\r,:]}")
"""What may stand behind a value: then it is read to its end."""
SPACES = re.compile(r"[ \t\n\r]*")


class JSONText:
    """Where we are in a JSON text of which only a piece is in memory."""

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
            if not self._more():
                return ""

    def take(self, wanted: str) -> str:
        """The next character that is no space, one of `wanted`."""
        found = self.next()
        if not found or found not in wanted:
            raise JSONDecodeError(f"Expecting {' or '.join(map(repr, wanted))}", *self._here)
        self.at += 1
        return found

    def value(self) -> Any:
        """The value that begins here, read to its end."""
        self.next()
        while True:
            try:
                value, end = DECODER.raw_decode(self.piece, self.at)
            except JSONDecodeError:
                if self._more():
                    continue
                raise
            if self.piece[end : end + 1] not in AFTER and self._more():  # 1 of 12, or of 1e3
                continue
            self.at = end
            return value

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here; the caller reads each one's value."""
        self.take("{")
        if self.next() == "}":
            self.take("}")
            return
        while True:
            if self.next() != '"':
                self.take('"')
            key = self.value()
            self.take(":")
            yield key
            if self.take(",}") == "}":
                return

    def elements(self) -> Iterator[Any]:
        """The values of the list that begins here."""
        self.take("[")
        if self.next() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def end(self) -> None:
        """Nothing but spaces may follow."""
        if self.next():
            raise JSONDecodeError("Extra data", *self._here)

    def excerpt(self, longest: int = 60) -> str:
        """What stands here, cut to a readable length."""
        while len(self.piece) <= self.at + longest and self._more():
            pass
        try:
            return excerpt(DECODER.raw_decode(self.piece, self.at)[0], longest)
        except JSONDecodeError:  # a long one, of which this is the beginning
            return self.piece[self.at : self.at + longest] + "..."

    @property
    def _here(self) -> tuple[str, int]:
        return self.piece, self.at

    def _more(self) -> bool:
        """Read on, as much again as there is, so that a long value is not decoded often."""
        rest = self.piece[self.at :]
        read = self.file.read(max(PIECE, len(rest)))
        if read:
            self.before += self.at
            self.piece, self.at = rest + read, 0
        return bool(read)


@contextmanager
def open_json(path: Path) -> Iterator[JSONText]:
    """A JSON file to go through; whatever is no JSON in it is a DataError."""
    with (
        open_data(path) as data,
        TextIOWrapper(data, encoding="utf-8-sig", newline="") as file,
    ):
        text = JSONText(file)
        try:
            yield text
        except JSONDecodeError as error:
            place = f"character {text.before + error.pos + 1:,}"
            raise DataError(f"{path}: not valid JSON: {error.msg}: {place}") from None
        except (UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{path}: not valid JSON: {error}") from None


def read_list(path: Path, key: str = "") -> Iterator[Any]:
    """The elements of the list under `key` of a JSON file's object, or of the list it is."""
    with open_json(path) as text:
        if not key:
            yield from _list(path, text, "should be a list")
        else:
            if text.next() not in ("{", ""):
                raise DataError(f"{path}: should be an object, found {text.excerpt()}")
            found = False
            for member in text.members():
                if member == key:
                    found = True
                    yield from _list(path, text, f"'{key}' should be a list")
                else:
                    _pass_over(text)
            if not found:
                raise DataError(f"{path}: '{key}' is missing")
        text.end()


def read_table(path: Path, by: str) -> Iterator[tuple[str, Any]]:
    """The keys and values of the object that a JSON file is; a key may come twice."""
    with open_json(path) as text:
        if text.next() not in ("{", ""):
            raise DataError(f"{path}: should be an object by {by}, found {text.excerpt()}")
        for key in text.members():
            yield key, text.value()
        text.end()


def _list(path: Path, text: JSONText, wanted: str) -> Iterator[Any]:
    if text.next() not in ("[", ""):
        raise DataError(f"{path}: {wanted}, found {text.excerpt()}")
    yield from text.elements()


def _pass_over(text: JSONText) -> None:
    """Go past a value; a list, which may be all of the file, element by element."""
    if text.next() == "[":
        for _ in text.elements():
            pass
    else:
        text.value()
