"""Which pictures or clips examples are about, and where their files lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vlbench.data.example import Example
from vlbench.data.faults import Faults
from vlbench.data.readers.base import Reader
from vlbench.errors import MissingError


def find_pictures(reader: Reader, examples: Iterable[Example]) -> tuple[dict[str, Path], Faults]:
    """Image id -> file of the pictures that are there, and what is missing."""
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
    return paths, faults
