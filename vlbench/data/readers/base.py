"""Reader of a dataset's official files, and what readers share: JSON, CSV, records, pictures.

JSON files are decoded record by record, as the largest are a gigabyte. Not by ijson 3.6 (yajl2_c):
1.3 to 1.5 times as long for VQAv2's annotations, no positions in messages, half a character
silently becomes `?`, numbers beyond 64 bits are refused, 100,000 nested lists fill the memory.
"""

from __future__ import annotations

import csv
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import TextIOWrapper
from json import JSONDecodeError
from pathlib import Path
from typing import Any, ClassVar, TextIO, TypeVar

from vlbench.data.example import Example, Faults, RecordFault, T, excerpt, field
from vlbench.errors import DataError, MissingError, UsageError, nearest
from vlbench.files import open_data

SUFFIXES = (".jpg", ".png", ".jpeg")
"""Of pictures, tried in this order; contents give the format, as many `.png` of NLVR2 are JPEG."""
PIECE = 1 << 22
"""Characters of a JSON file that are read at a time."""
DECODER = json.JSONDecoder()
AFTER = tuple(" \t\n\r,:]}")
"""What may stand behind a JSON value: then it was read to its end."""
SPACES = re.compile(r"[ \t\n\r]*")
Record = dict[str, Any]
Examples = Iterator[Example]
Records = Iterator[tuple[str, Record]]
"""Pairs of example id and record."""
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

    def read_train(self, split: str) -> list[Example]:
        """The examples to train on."""
        return self.read(split, True)

    def counts(self, examples: Sequence[Example]) -> dict[str, int]:
        """Further counts of a split, by name, for `vlbench data check`."""
        return {}

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
    candidates = [
        folder / f"{name}{suffix}" for folder in folders for name in names for suffix in SUFFIXES
    ]
    for path in candidates:
        if path.is_file():
            return path
    otherwise = " or ".join([*SUFFIXES[1:], *names[1:]])
    raise MissingError(f"{candidates[0]}: no such picture, nor as {otherwise}")


def require_new(identifier: T, seen: set[T], name: str = "") -> None:
    """Raise RecordFault where the identifier was seen before, and add it to `seen`."""
    if identifier in seen:
        raise RecordFault(f"{name} is there twice".lstrip())
    seen.add(identifier)


def read_authors_questions(
    path: Path, id_kind: type[T], faults: Faults
) -> Iterator[tuple[str, Example, Record]]:
    """(what messages call it, example without annotation, record) of the questions of a file that
    the authors of LXMERT, VL-T5 and VL-Adapter made of the official ones.

    A list of `{"question_id", "img_id", "sent", "label"}`; some copies have `question` for `sent`.
    `label` is answer -> score, and empty where no answer is in the authors' list of frequent ones.
    """
    seen: set[Any] = set()
    for where, record in read_named(path, "question", "question_id"):
        with faults.of(path, where):
            question = field(record, "question_id", id_kind)
            require_new(question, seen)
            text = field(record, "question" if "question" in record else "sent", str)
            images = (field(record, "img_id", str),)
            label: dict[str, Any] = field(record, "label", dict)
            for answer, score in label.items():
                if type(score) not in (int, float) or not 0 <= score <= 1:
                    raise RecordFault(
                        f"'label' of {excerpt(answer)} should be a score, 0 to 1: {score}"
                    )
            targets = {answer: float(score) for answer, score in label.items() if score}
            yield where, Example(str(question), text, images, targets), record


def read_lines(path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
    """The values of a JSON Lines file, with what messages call them: `line 3`."""
    with open_data(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line)
                except (JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                    faults.add(path, f"line {number}", f"not valid JSON: {error}")


def read_rows(path: Path, faults: Faults) -> Iterator[tuple[str, list[str]]]:
    """The rows of a CSV file that are not empty, with what messages call them: `line 3`."""
    with open_data(path) as data, TextIOWrapper(data, "utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        try:
            for row in rows:
                if row:
                    yield f"line {rows.line_num}", row
        except (csv.Error, UnicodeDecodeError) as error:
            faults.add(path, "", f"not valid CSV behind line {rows.line_num}: {error}")


def read_named(path: Path, noun: str, id_key: str, key: str = "") -> Iterator[tuple[str, Any]]:
    """The elements of a JSON list as `read_list`, with what messages call them: `question 5`."""
    for number, record in enumerate(read_list(path, key), 1):
        name = record.get(id_key) if isinstance(record, dict) else None
        yield f"{noun} {name if isinstance(name, str | int) else f'number {number}'}", record


def read_list(path: Path, key: str = "") -> Iterator[Any]:
    """The elements of the list under `key` of a JSON file's object, or of the list it is."""
    fault = f"{path}: '{key}' should be a list" if key else f"{path}: should be a list"
    is_missing = True
    with _open_json(path) as text:
        for member in text.items("{", f"{path}: should be an object") if key else [""]:
            if member == key:
                is_missing = False
                for _ in text.items("[", fault):
                    yield text.value()
            elif text.next() == "[":  # may be all of the file
                for _ in text.items("["):
                    text.value()
            else:
                text.value()
        if is_missing:
            raise DataError(f"{path}: '{key}' is missing")


def read_table(path: Path, by: str) -> Iterator[tuple[str, Any]]:
    """The keys and values of the object that a JSON file is; a key may come twice."""
    with _open_json(path) as text:
        for key in text.items("{", f"{path}: should be an object by {by}"):
            yield key, text.value()


def is_list(path: Path) -> bool:
    """Whether a JSON file is a list, and not an object or JSON Lines."""
    with open_data(path) as file:
        return file.read(1 << 12).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


@contextmanager
def _open_json(path: Path) -> Iterator[_JSONText]:
    """A JSON file to go through to its end; whatever is no JSON in it is a DataError."""
    with open_data(path) as data, TextIOWrapper(data, "utf-8-sig", newline="") as file:
        text = _JSONText(file)
        try:
            yield text
            if text.next():
                raise JSONDecodeError("Extra data", text.piece, text.at)
        except JSONDecodeError as error:
            position = f"character {text.before + error.pos + 1:,}"
            raise DataError(f"{path}: not valid JSON: {error.msg}: {position}") from None
        except (UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{path}: not valid JSON: {error}") from None


class _JSONText:
    """Position in a JSON text of which only a piece is in memory."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.piece = ""
        self.at = self.before = 0
        """The position in the piece, and how many characters are before the piece."""

    def next(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            self.at = SPACES.match(self.piece, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.piece):
                return self.piece[self.at]
            if not self._read_more():
                return ""

    def take(self, expected: str) -> str:
        """Go past the next character that is no space, one of the expected ones."""
        character = self.next()
        if not character or character not in expected:
            message = f"Expecting {' or '.join(map(repr, expected))}"
            raise JSONDecodeError(message, self.piece, self.at)
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

    def items(self, begin: str, fault: str = "") -> Iterator[str]:
        """Stop before each value of an object or a list, at its key (a list: at nothing)."""
        end = "}" if begin == "{" else "]"
        if self.next() not in (begin, ""):
            while len(self.piece) <= self.at + 60 and self._read_more():
                pass
            start = self.piece[self.at :]
            raise DataError(f"{fault}, found {start[:60]}{'...' if len(start) > 60 else ''}")
        self.take(begin)
        separator = "," if self.next() != end else self.take(end)
        while separator == ",":
            key = ""
            if begin == "{":
                key = self.value() if self.next() == '"' else self.take('"')
                self.take(":")
            yield key
            separator = self.take(f",{end}")

    def _read_more(self) -> bool:
        """Read on, as much again as there is, so that a long value is not decoded often."""
        rest = self.piece[self.at :]
        read = self.file.read(max(PIECE, len(rest)))
        if read:
            self.before += self.at
            self.piece, self.at = rest + read, 0
        return bool(read)
