"""The pictures, or the clips as folders of frames, that lie below a folder, by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from vlbench.errors import DataError, MissingError

PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""In capitals too; other files are no pictures, and neither are hidden ones."""


def pictures_below(folder: Path) -> dict[str, Path]:
    """File name without suffix -> file; DataError where two files share it."""
    return _by_name(folder, (file for each in _folders(folder) for file in pictures_in(each)))


def clips_below(folder: Path) -> dict[str, Path]:
    """Folder name -> folder, of those that hold pictures themselves."""
    return _by_name(folder, (each for each in _folders(folder) if pictures_in(each)))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures that lie in a folder itself, by name: `2.png` before `10.png`."""
    found = (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")
    )
    return sorted(found, key=_numbers_as_numbers)


def _numbers_as_numbers(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and those below it; links to folders are followed, each once."""
    if not folder.is_dir():
        raise MissingError(f"--images {folder}: no such folder.")
    seen = set()
    for path, names, _ in os.walk(folder, followlinks=True):
        where = os.path.realpath(path)
        if where in seen:
            names.clear()
            continue
        seen.add(where)
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield Path(path)


def _by_name(folder: Path, paths: Iterator[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise DataError(
                f"{path} and {found[name]}: both would be '{name}' in the store. Rename one, or "
                "make a store for each folder."
            )
        found[name] = path
    if not found:
        known = ", ".join(PICTURE_SUFFIXES)
        raise MissingError(f"--images {folder}: no pictures below it; they end in {known}.")
    return found
