"""Reading HDF5 through h5py, an extra: pip install 'vlbench[hdf5]'."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vlbench.data.stores.base import Array
from vlbench.data.stores.foreign import NAMED
from vlbench.errors import DataError, MissingError

SUFFIXES = (".h5", ".hdf5")
BROKEN = (OSError, RuntimeError, KeyError, ValueError)
"""What h5py raises for truncated and damaged files."""


def library() -> Any:
    """The h5py module; asked for only where there is an HDF5 file."""
    try:
        return import_module("h5py")
    except ImportError:
        raise MissingError(
            "Reading HDF5 features needs h5py, which is missing: pip install 'vlbench[hdf5]'"
        ) from None


def open_file(path: Path) -> Any:
    """The file, read only; locking fails on some network file systems and is not needed."""
    try:
        return library().File(path, "r", locking=False)
    except BROKEN as error:
        raise DataError(f"{path}: not a readable HDF5 file: {error}") from None


def features_of(file: Any, path: Path, image: str) -> Array:
    """The dataset `{image}/features` of an open file."""
    try:
        found: Array = np.asarray(file[f"{image}/{NAMED}"][()])
    except BROKEN as error:
        raise DataError(f"{path}: {image}: no readable '{image}/{NAMED}': {error}") from None
    return found
