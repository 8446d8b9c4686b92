"""Reader of a dataset's official files: find them, read a split, list all faults, find pictures."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, T, excerpt, field
from vlbench.data.readers.json_text import read_list
from vlbench.errors import DataError, MissingError, UsageError, nearest
from vlbench.files import open_data, packed_beside

SUFFIXES = (".jpg", ".png", ".jpeg")
"""Of pictures, tried in this order; contents give the format, as many `.png` of NLVR2 are JPEG."""
Record = dict[str, Any]


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
    then it is done once (`vlbench.data.table`)."""

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
        """Further counts of a split, by name, for `vlbench data check`."""
        return {}

    def missing_files(self, split: str) -> list[Path]:
        """The missing ones of the annotation files of `split`."""
        if split not in self.splits:
            raise UsageError(
                f"{type(self).__name__} has no split '{split}'. {nearest(split, self.splits)}"
            )
        return [file for file in self.files(split) if not file.is_file()]

    def _read(self, split: str, read: Callable[[str, Faults], list[Example]]) -> list[Example]:
        missing = self.missing_files(split)
        if missing:
            raise missing_data(missing)
        faults = Faults()
        examples = read(split, faults)
        faults.refuse()
        if not examples:
            files = ", ".join(str(file) for file in self.files(split))
            raise DataError(f"{files}: no example of the split '{split}'")
        return examples


def missing_data(files: Iterable[Path]) -> MissingError:
    """One error that names every missing file."""
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
    """The values of a JSON Lines file, with what messages call them: `line 3`."""
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


def read_authors_questions(
    path: Path, id_kind: type[T], faults: Faults
) -> Iterator[tuple[str, Example, Record]]:
    """(what messages call it, example without annotation, record) of the questions of a file that
    the authors of LXMERT, VL-T5 and VL-Adapter made of the official ones.

    A list of `{"question_id", "img_id", "sent", "label"}`; some copies have `question` for `sent`.
    `label` is answer -> score, and empty where no answer is in the authors' list of frequent ones.
    """
    seen: set[Any] = set()
    for position, record in enumerate(read_list(path)):
        where = f"question {name_of(record, 'question_id', position)}"
        with faults.of(path, where):
            question = field(record, "question_id", id_kind)
            require_new(question, seen)
            text = field(record, "question" if "question" in record else "sent", str)
            images = (field(record, "img_id", str),)
            yield where, Example(str(question), text, images, _soft_label(record)), record


def _soft_label(record: Record) -> dict[str, float]:
    """Answer -> score in (0, 1]; there may be none."""
    label: dict[str, Any] = field(record, "label", dict)
    for answer, score in label.items():
        if type(score) not in (int, float) or not 0 <= score <= 1:
            raise RecordFault(f"'label' of {excerpt(answer)} should be a score, 0 to 1: {score}")
    return {answer: float(score) for answer, score in label.items() if score}


def require_new(identifier: T, seen: set[T], name: str = "") -> None:
    """Raise RecordFault where the identifier was seen before, and add it to `seen`."""
    if identifier in seen:
        raise RecordFault(f"{name} is there twice".lstrip())
    seen.add(identifier)


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


def name_of(record: Any, key: str, position: int) -> str:
    """What messages call a record: its `key`, else its position in the list."""
    if isinstance(record, dict) and isinstance(record.get(key), str | int):
        return str(record[key])
    return f"number {position + 1}"
