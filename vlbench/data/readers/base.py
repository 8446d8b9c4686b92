"""What every reader does: find its files, read a split, tell all faults, find a picture's file."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from vlbench.data.example import Example
from vlbench.data.faults import Faults
from vlbench.data.images import SUFFIXES
from vlbench.errors import DataError, MissingError, UsageError, nearest
from vlbench.packed_files import open_data, packed_beside


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
    """Whether `files` are all that reading depends on, and all that it does is to give examples:
    then it is done once (`vlbench.data.index`)."""

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
    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The examples of a split; faulty records go into `faults`."""

    @abstractmethod
    def image_path(self, image_id: str) -> Path:
        """The file of a picture; MissingError where there is none."""

    def read(self, split: str) -> list[Example]:
        """The examples to evaluate on; missing files and faulty records are errors."""
        return self._read(split, self.examples)

    def read_train(self, split: str) -> list[Example]:
        """The examples to train on, without their records: a million would fill the memory."""
        return [replace(example, annotation={}) for example in self.read(split)]

    def counts(self, examples: Sequence[Example]) -> dict[str, int]:
        """What else the dataset counts of a split, by name, for `vlbench data check`."""
        return {}

    def missing_files(self, split: str) -> list[Path]:
        """The annotation files of `split` that are not there."""
        if split not in self.splits:
            raise UsageError(
                f"{type(self).__name__} has no split '{split}'. {nearest(split, self.splits)}"
            )
        return [file for file in self.files(split) if not file.is_file()]

    def _read(self, split: str, examples: Callable[[str, Faults], list[Example]]) -> list[Example]:
        missing = self.missing_files(split)
        if missing:
            raise missing_data(missing)
        faults = Faults()
        found = examples(split, faults)
        faults.refuse()
        if not found:
            shown = ", ".join(str(file) for file in self.files(split))
            raise DataError(f"{shown}: no example of the split '{split}'")
        return found


def missing_data(files: Iterable[Path]) -> MissingError:
    """One error that names every file looked for."""
    lines = "".join(f"\n  {file}{packed_beside(file)}" for file in dict.fromkeys(files))
    return MissingError(f"Data not found; --root says where it lies. Looked for:{lines}")


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    try:
        with open_data(path) as file:
            return json.loads(file.read())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None


def read_lines(path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
    """The values of a JSON Lines file, each with what messages call it: `line 3`."""
    with open_data(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                faults.add(path, f"line {number}", f"not valid JSON: {error}")
            else:
                yield f"line {number}", value


def find_image(folders: Iterable[Path], *names: str) -> Path:
    """The first of the folders' files of these names with a picture's suffix."""
    looked_for = [
        folder / f"{name}{suffix}" for folder in folders for name in names for suffix in SUFFIXES
    ]
    for path in looked_for:
        if path.is_file():
            return path
    otherwise = " or ".join([*SUFFIXES[1:], *names[1:]])
    raise MissingError(f"{looked_for[0]}: no such picture, nor as {otherwise}")


def name_of(record: Any, key: str, position: int) -> str:
    """What messages call a record: its `key`, else its position in the list."""
    if isinstance(record, dict) and isinstance(record.get(key), str | int):
        return str(record[key])
    return f"number {position + 1}"
