"""The formats of your own data: JSON Lines, LLaVA's JSON, CSV, Hugging Face's image folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from vlbench.data.example import Faults, RecordFault, field
from vlbench.data.readers import base
from vlbench.data.readers.own import OwnData
from vlbench.errors import DataError
from vlbench.files import open_data

LISTS = ("images", "answers", "captions", "choices")
"""Columns of a CSV file whose cells hold several texts."""
SEPARATOR = "|"  # of the texts in such a cell
ROLES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
PICTURE = "<image>"  # where LLaVA's text has a picture; our models read pictures first
METADATA = ("metadata.jsonl", "metadata.csv")
RENAMED = {"file_name": "image", "file_names": "images", "text": "captions"}
"""Keys of an image folder's metadata -> ours."""
Records = Iterator[tuple[str, Any]]


class JSONLines(OwnData):
    """One JSON object a line, whose keys are those of `own.KEYS`."""

    def records(self, path: Path, faults: Faults) -> Records:
        return base.read_lines(path, faults)


class CSV(OwnData):
    """A table with a header; columns are the keys of JSON Lines, an empty cell is no value."""

    def records(self, path: Path, faults: Faults) -> Records:
        return read_csv(path, faults)


class LLaVA(OwnData):
    """A list of `id`, `image` and `conversations`, also a record a line.

    Each pair of turns, a question and its answer, is an example without the turns before it.
    """

    def records(self, path: Path, faults: Faults) -> Records:
        lines: Iterable[tuple[str, Any]] = base.read_lines(path, faults)
        if base.is_list(path):
            numbered = enumerate(base.read_list(path), 1)
            lines = ((f"record number {number}", record) for number, record in numbered)
        for where, record in lines:
            with faults.of(path, where):
                for turn in _turns(record):
                    yield where, turn


class ImageFolder(OwnData):
    """Folders with a `metadata.jsonl` or `.csv`, whose `file_name` is a picture beside it.

    Files that a glob matches beside the folders are left out.
    """

    def files(self, split: str) -> list[Path]:
        paths = super().files(split)
        folders = [path for path in paths if path.is_dir() or path.name in METADATA]
        return [_metadata(path) if path.is_dir() else path for path in folders or paths]

    def records(self, path: Path, faults: Faults) -> Records:
        read = read_csv if path.suffix == ".csv" else base.read_lines
        for where, record in read(path, faults):
            yield where, _renamed(record) if isinstance(record, dict) else record


def read_csv(path: Path, faults: Faults) -> Records:
    """The rows of a CSV file with a header, by the line that they end in."""
    with open_data(path) as content, TextIOWrapper(content, "utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            rows.fieldnames = names = [name.strip() for name in rows.fieldnames or ()]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise DataError(f"{path}: line 1: the column '{twice[0]}' is there twice")
            for row in rows:
                where = f"line {rows.line_num}"
                if None in row or None in row.values():
                    is_more = "more" if None in row else "fewer"
                    faults.add(path, where, f"{is_more} cells than the {len(names)} columns")
                else:
                    yield where, {name: _cell(name, cell) for name, cell in row.items() if cell}
        except (csv.Error, UnicodeDecodeError) as error:
            faults.add(path, f"line {rows.line_num + 1}", f"not valid CSV in UTF-8: {error}")


def _cell(column: str, text: str) -> str | list[str]:
    return text.split(SEPARATOR) if column in LISTS else text


def _turns(record: Any) -> Iterator[dict[str, Any]]:
    """The questions of a conversation with their answers."""
    turns = [
        (field(turn, "from", str), field(turn, "value", str))
        for turn in field(record, "conversations", list)
    ]
    roles = [ROLES.get(role, "") for role, _ in turns]
    if not turns or roles != ["human", "gpt"] * (len(turns) // 2):
        speakers = ", ".join(speaker for speaker, _ in turns[:6]) or "none"
        expected = "'conversations' should be human, gpt and so on in turns"
        raise RecordFault(f"{expected}, found {speakers}")
    same = {key: record[key] for key in ("image", "images") if record.get(key) is not None}
    pictures = next(iter(same.values()), None)
    if len(same) == 1:  # a list may stand under either
        same = {"images" if isinstance(pictures, list) else "image": pictures}
    count = len(pictures) if isinstance(pictures, list) else 1
    marks = sum(value.count(PICTURE) for _, value in turns)
    if marks not in (0, count):
        raise RecordFault(f"{marks} {PICTURE} in the text, and {count} pictures")
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    for number, ((_, question), (_, answer)) in enumerate(pairs, 1):
        own: dict[str, Any] = {}
        if record.get("id") is not None:
            own["id"] = f"{record['id']}-{number}" if len(pairs) > 1 else record["id"]
        yield {**same, **own, "question": question.replace(PICTURE, ""), "answer": answer}


def _metadata(folder: Path) -> Path:
    """The file of an image folder that says what its pictures are."""
    files = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(files) > 1:
        raise DataError(f"{folder}: holds both {' and '.join(METADATA)}: remove one.")
    return files[0] if files else folder / METADATA[0]


def _renamed(record: dict[str, Any]) -> dict[str, Any]:
    renamed = {RENAMED.get(key, key): value for key, value in record.items()}
    if "text" in record and isinstance(record["text"], str):
        renamed["captions"] = [record["text"]]
    return renamed
