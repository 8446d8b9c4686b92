"""A folder of one NumPy archive per clip, the layout of VALUE's features.

`{clip}.npz` holds the array `features`, (frames, width), float16; other arrays are not read. Our
own features of clips are written like that too.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vlbench.data.stores.base import Array
from vlbench.data.stores.foreign import NAMED, ForeignStore
from vlbench.errors import DataError

SUFFIX = ".npz"
ABOUT = "clips.json"
"""Says which encoder made the features, in stores of our own."""
BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for truncated archives, for pickles, and where the array is not there."""


class Npz(ForeignStore):
    """Clips of any number of frames, at least one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, {file.stem for file in path.iterdir() if file.suffix == SUFFIX})
        self.encoder = (about(path).get("encoder") or {}).get("name")

    def load(self, image: str) -> Array:
        """The array `features` of the clip's archive."""
        path = self.path / f"{image}{SUFFIX}"
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                found: Array = archive[NAMED]  # NumPy leaves a broken file of a path open
        except BROKEN as error:
            raise DataError(f"{path}: {image}: no readable '{NAMED}': {error}") from None
        return found


def about(folder: Path) -> dict[str, Any]:
    """What our own stores say of themselves; empty for those of others."""
    try:
        found = json.loads((folder / ABOUT).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{folder / ABOUT}: cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}
