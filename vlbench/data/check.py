"""Find faults of the data before training: files, records, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vlbench.data.example import Example
from vlbench.data.faults import Faults
from vlbench.data.images import open_image
from vlbench.data.readers.base import Reader, missing_data
from vlbench.errors import DataError, MissingError


@dataclass(frozen=True)
class Checked:
    """What a split holds, found without fault."""

    split: str
    examples: int
    pictures: int


def require_files(wanted: Iterable[tuple[Reader, str]]) -> None:
    """Refuse if annotation files of any (reader, split) are missing, all named in one message."""
    missing = [file for reader, split in wanted for file in reader.missing_files(split)]
    if missing:
        raise missing_data(missing)


def image_paths(reader: Reader, examples: Iterable[Example]) -> dict[str, Path]:
    """Image id -> file of all pictures of the examples; the missing ones are told together."""
    faults = Faults()
    paths: dict[str, Path] = {}
    told: set[str] = set()
    for example in examples:
        for image in example.images:
            if image in paths or image in told:
                continue
            try:
                paths[image] = reader.image_path(image)
            except MissingError as error:
                told.add(image)
                faults.texts.append(f"{error} (wanted by example {example.id})")
    faults.refuse()
    return paths


def require_readable(paths: Mapping[str, Path]) -> None:
    """Refuse if any of the pictures cannot be decoded to its end."""
    faults = Faults()
    for path in paths.values():
        try:
            open_image(path)
        except DataError as error:
            faults.texts.append(str(error))
    faults.refuse()


def check(reader: Reader, splits: Iterable[str]) -> list[Checked]:
    """Read every split and open every picture of it; the first split with faults is refused."""
    splits = list(dict.fromkeys(splits))
    require_files((reader, split) for split in splits)
    checked = []
    for split in splits:
        examples = reader.read(split)
        paths = image_paths(reader, examples)
        require_readable(paths)
        checked.append(Checked(split, len(examples), len(paths)))
    return checked
