"""Reader of a dataset's official files, and what readers share: JSON, records, pictures."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from json import JSONDecodeError
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example, Faults, RecordFault, T, excerpt, field
from vlbench.errors import DataError, MissingError, UsageError, nearest
from vlbench.files import open_data

SUFFIXES = (".jpg", ".png", ".jpeg")
"""Of pictures, tried in this order; contents give the format, as many `.png` of NLVR2 are JPEG."""
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
    needs_root: ClassVar[bool] = True
    """Whether the data lie below a root: not in a Python package, or where the card says."""
    is_indexed: ClassVar[bool] = True
    """Whether examples depend on `files` alone: then they are read once (`vlbench.data.table`)."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).expanduser()
        self._subfolders: dict[tuple[Path, str], list[Path]] = {}

    @classmethod
    def of_card(cls, card: TaskCard, root: Path) -> Self:
        """The reader of a task whose data lie below `root`."""
        return cls(root)

    @property
    def settings(self) -> str:
        """What examples depend on besides files and code."""
        return ""

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

    def subfolders(self, folder: Path, pattern: str = "*/") -> list[Path]:
        """Sub-folders in their order; looked for once, as there are pictures beside them."""
        if (folder, pattern) not in self._subfolders:
            self._subfolders[folder, pattern] = sorted(folder.glob(pattern))
        return self._subfolders[folder, pattern]

    def origin(self, image_id: str) -> str:
        """The file and line that name a picture, where the reader knows them."""
        return ""

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
    return MissingError(
        f"Data not found; --root, or [files] of a task card, says where it lies. Looked for:{lines}"
    )


def official_or_authors(official: Path, authors: Path) -> Path:
    """The authors' file only where it exists and the official one does not."""
    return authors if authors.is_file() and not official.is_file() else official


def find_image(folders: Iterable[Path], *names: str) -> Path:
    """The first of the folders' files of these names with a picture's suffix."""
    first = None
    for folder, name, suffix in product(folders, names, SUFFIXES):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
        first = first or path
    raise MissingError(f"{first}: no such picture, nor by another name or suffix")


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
    with _decoded(path) as value:
        elements = field(value, key, list) if key else value
        if not isinstance(elements, list):
            raise RecordFault(f"should be a list, found {excerpt(elements)}")
    yield from elements


def read_table(path: Path, by: str) -> Iterator[tuple[str, Any]]:
    """The keys and values of the object that a JSON file is."""
    with _decoded(path, _unique) as table:
        if not isinstance(table, dict):
            raise RecordFault(f"should be an object by {by}, found {excerpt(table)}")
    yield from table.items()


def _unique(pairs: list[tuple[str, Any]]) -> Record:
    table = dict(pairs)
    if len(table) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise RecordFault(f"{twice} is there twice")
    return table


def is_list(path: Path) -> bool:
    """Whether a JSON file is a list, and not an object or JSON Lines."""
    with open_data(path) as file:
        return file.read(1 << 12).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


@contextmanager
def _decoded(
    path: Path, hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Iterator[Any]:
    """What a JSON file holds; whatever is wrong with it is a DataError."""
    try:
        with open_data(path) as file:
            text = file.read().decode("utf-8-sig")
        yield json.loads(text, object_pairs_hook=hook)
    except RecordFault as fault:
        raise DataError(f"{path}: {fault}") from None
    except (JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
