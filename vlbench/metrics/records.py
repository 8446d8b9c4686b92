"""Read annotation and result files; a fault is told with its file and record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

from vlbench.errors import DataError, MissingError
from vlbench.packed_files import open_data

T = TypeVar("T")
Record = dict[str, Any]

_WORDS: dict[type, str] = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


def read_json(path: Path, kind: type[T]) -> T:
    """The file's one JSON value, which must be a list or an object as `kind` says."""
    return of_kind(parse(read_text(path), str(path)), kind, f"{path}: the file")


def read_json_lines(path: Path) -> Iterator[tuple[str, Record]]:
    """Each line's object with the words that name it in a message; blank lines are passed over."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            where = f"{path}: line {number}"
            yield where, of_kind(parse(line, where), dict, where)


def records(values: list[Any], where: str) -> Iterator[tuple[str, Record]]:
    """The objects of a list, each with the words that name it in a message."""
    for number, value in enumerate(values, 1):
        place = f"{where}: record {number}"
        yield place, of_kind(value, dict, place)


def value_at(record: Record, key: str, kind: type[T], where: str) -> T:
    """The record's value under `key`, which must be there and of that kind."""
    if key not in record:
        raise DataError(f"{where}: '{key}' is missing.")
    return of_kind(record[key], kind, f"{where}: '{key}'")


def of_kind(value: Any, kind: type[T], where: str) -> T:
    """The value, which must be of that kind; true and false are no numbers."""
    if not isinstance(value, kind) or isinstance(value, bool):
        found = json.dumps(value)
        found = found if len(found) <= 60 else found[:60] + "..."
        raise DataError(f"{where} should be {_WORDS[kind]}, found {found}")
    return value


def read_text(path: Path) -> str:
    """The whole file, which must be UTF-8."""
    try:
        if path.is_char_device():  # such as /dev/zero, which has no end
            raise MissingError(f"{path}: is a device, not a file.")
        with open_data(path) as data, TextIOWrapper(data, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror or error}.") from error


def parse(
    text: str, where: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """The JSON value; `pairs` makes an object from its keys and values, repeated ones included."""
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}") from error
