"""Reader of a dataset's official files, and what readers share: JSON, records, pictures.

JSON files are decoded record by record: what a file of a gigabyte holds, all at once, would fill
the memory.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from json import JSONDecodeError
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vlbench.data.example import Example, Faults, RecordFault, T
from vlbench.errors import DataError, MissingError, UsageError, nearest
from vlbench.files import open_data

SUFFIXES = (".jpg", ".png", ".jpeg")
"""Of pictures, tried in this order; contents give the format, as many `.png` of NLVR2 are JPEG."""
DECODER = json.JSONDecoder()
SPACES = re.compile(r"[ \t\n\r]*")
Record = dict[str, Any]
Examples = Iterator[Example]
Records = Iterator[tuple[str, Record]]  # pairs of example id and record
Source = TypeVar("Source")
Item = TypeVar("Item")


class Reader(ABC):
    """Reads one dataset below a data root; a subclass adds what is abstract here, and `splits`."""

    splits: ClassVar[tuple[str, ...]]
    """Names of the splits, the dataset's own."""
    feature_places: ClassVar[tuple[str, ...]] = ()
    """Where below the root its features may lie; `{encoder}` stands for the encoder's name, and
    `{authors}` for how the authors' folders spell it."""
    authors_names: ClassVar[dict[str, str]] = {}
    """Encoder -> how they spell it for this dataset, where that is not as elsewhere."""
    is_packaged: ClassVar[bool] = False
    """Whether the data can come as a Python package: then no root is needed."""
    is_indexed: ClassVar[bool] = True
    """Whether examples depend on `files` alone: then they are read once (`vlbench.data.table`)."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).expanduser()

    @property
    def folder(self) -> Path:
        """What the names of its files are relative to in a fingerprint."""
        return self.root

    @abstractmethod
    def files(self, split: str) -> list[Path]:
        """The annotation files that `split` is read from."""

    @abstractmethod
    def examples(self, split: str, faults: Faults) -> Iterable[Example]:
        """The examples of a split to evaluate on; faulty records go into `faults`."""

    @abstractmethod
    def image_path(self, image_id: str) -> Path:
        """The file of a picture; MissingError where there is none."""

    def training_examples(self, split: str, faults: Faults) -> Iterable[Example]:
        """The same to train on, without the records: a million of them would fill the memory."""
        examples = self.examples(split, faults)
        return (replace(e, annotation={}) if e.annotation else e for e in examples)

    def read_annotations(self, path: Path, faults: Faults) -> Iterable[tuple[str, Record]]:
        """(example id, record as the metric wants it) of one file, for `vlbench score`."""
        raise NotImplementedError

    def read(self, split: str, for_training: bool = False) -> list[Example]:
        """The examples of a split; missing files and faulty records are errors."""
        if missing := self.missing_files(split):
            raise missing_data(missing)
        examples = read_all(self.training_examples if for_training else self.examples, split)
        if not examples:
            files = ", ".join(map(str, self.files(split)))
            raise DataError(f"{files}: no example of the split '{split}'")
        return examples

    def missing_files(self, split: str) -> list[Path]:
        """The missing ones of the annotation files of `split`."""
        if split not in self.splits:
            raise UsageError(
                f"{type(self).__name__} has no split '{split}'. {nearest(split, self.splits)}"
            )
        return [file for file in self.files(split) if not file.is_file()]


def read_all(read: Callable[[Source, Faults], Iterable[Item]], source: Source) -> list[Item]:
    """All items that `read` gives of a split or file; its faults are one DataError."""
    faults = Faults()
    items = list(read(source, faults))
    faults.refuse()
    return items


def missing_data(files: Iterable[Path]) -> MissingError:
    """One error that names every missing file."""
    lines = "".join(f"\n  {file}" for file in dict.fromkeys(files))
    return MissingError(f"Data not found; --root says where it lies. Looked for:{lines}")


def official_or_authors(official: Path, authors: Path) -> Path:
    """The authors' file only where it exists and the official one does not."""
    return authors if authors.is_file() and not official.is_file() else official


def find_image(folders: Iterable[Path], *names: str) -> Path:
    """The first of the folders' files of these names with a picture's suffix."""
    candidates = [f / f"{name}{suffix}" for f in folders for name in names for suffix in SUFFIXES]
    for path in candidates:
        if path.is_file():
            return path
    raise MissingError(f"{candidates[0]}: no such picture, nor by another name or suffix")


def require_new(identifier: T, seen: set[T], name: str = "") -> None:
    """Raise RecordFault where the identifier was seen before, and add it to `seen`."""
    if identifier in seen:
        raise RecordFault(f"{name} is there twice".lstrip())
    seen.add(identifier)


def read_lines(path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
    """The values of a JSON Lines file, with what messages call them: `line 3`."""
    with open_data(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line)
                except (JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                    faults.add(path, f"line {number}", f"not valid JSON: {error}")


def read_named(path: Path, noun: str, id_key: str, key: str = "") -> Iterator[tuple[str, Any]]:
    """The elements of a JSON list as `read_list`, with what messages call them: `question 5`."""
    for number, record in enumerate(read_list(path, key), 1):
        name = record.get(id_key) if isinstance(record, dict) else None
        yield f"{noun} {name if isinstance(name, str | int) else f'number {number}'}", record


def read_list(path: Path, key: str = "") -> Iterator[Any]:
    """The elements of the list under `key` of a JSON file's object, or of the list it is."""
    fault = f"'{key}' should be a list" if key else "should be a list"
    is_missing = True
    with _open_json(path) as text:
        for member in text.items("{", "should be an object") if key else [""]:
            if member == key:
                is_missing = False
                for _ in text.items("[", fault):
                    yield text.value()
            else:
                text.value()
        if is_missing:
            raise RecordFault(f"'{key}' is missing")


def read_table(path: Path, by: str) -> Iterator[tuple[str, Any]]:
    """The keys and values of the object that a JSON file is; a key may come twice."""
    with _open_json(path) as text:
        for key in text.items("{", f"should be an object by {by}"):
            yield key, text.value()


def is_list(path: Path) -> bool:
    """Whether a JSON file is a list, and not an object or JSON Lines."""
    with open_data(path) as file:
        return file.read(1 << 12).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


class _JSONText:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def next(self, expected: str = "") -> str:
        """The next character that is no space; go past an `expected` one, any other is an error."""
        self.at = SPACES.match(self.text, self.at).end()  # type: ignore[union-attr]
        character = self.text[self.at : self.at + 1]
        if expected and (not character or character not in expected):
            message = f"Expecting {' or '.join(map(repr, expected))}"
            raise JSONDecodeError(message, self.text, self.at)
        self.at += bool(expected)
        return character

    def value(self) -> Any:
        """Decode the value that begins here, and go past it."""
        self.next()
        value, self.at = DECODER.raw_decode(self.text, self.at)
        return value

    def items(self, begin: str, fault: str) -> Iterator[str]:
        """Stop before each value of an object or a list, at its key (a list: at nothing)."""
        end = {"{": "}", "[": "]"}[begin]
        if self.next() not in (begin, ""):
            raise RecordFault(f"{fault}, found {self.text[self.at : self.at + 60]}")
        self.next(begin)
        separator = self.next(end) if self.next() == end else ","
        while separator == ",":
            key = ""
            if begin == "{":
                key = self.value() if self.next() == '"' else self.next('"')
                self.next(":")
            yield key
            separator = self.next(f",{end}")


@contextmanager
def _open_json(path: Path) -> Iterator[_JSONText]:
    """A JSON file to go through to its end; whatever is no JSON in it is a DataError."""
    try:
        with open_data(path) as file:
            text = _JSONText(file.read().decode("utf-8-sig"))
        yield text
        if text.next():
            raise JSONDecodeError("Extra data", text.text, text.at)
    except RecordFault as fault:
        raise DataError(f"{path}: {fault}") from None
    except JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: not valid JSON: {error.msg}: {position}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
