"""Arrays that are computed once per set of reference captions, kept by content in the cache folder.

A file is an `.npz` of plain arrays, named by the hash of what they were computed from: another set
is another file, and two processes that write one at a time write the same. A file that is damaged
is made again; the folder keeps those that were used last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vlbench.errors import MissingError
from vlbench.files import cache_folder, write_atomically

Arrays = dict[str, NDArray[Any]]
KEPT = 16
"""Files; COCO's 5,000 x 5 captions take 16 MB."""


def remembered(key: str, names: Collection[str], make: Callable[[], Arrays]) -> Arrays:
    """The arrays of that key: read where they are, else made and kept; `names` are theirs."""
    try:
        path = cache_folder() / "references" / f"{key}.npz"
    except MissingError:  # nowhere to keep them: the scores are the same
        return make()
    found = _read(path, names)
    if found is None:
        found = make()
        with suppress(OSError):
            _write(path, found)
    return found


def _read(path: Path, names: Collection[str]) -> Arrays | None:
    """The arrays, or None if the file is absent or damaged: a zip holds a checksum of each."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in names}
        os.utime(path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    def save(place: Path) -> None:
        with place.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, save)
    by_age = sorted(path.parent.glob("*.npz"), key=_last_used, reverse=True)
    for old in by_age[KEPT:]:
        old.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0
