"""One HDF5 file for all pictures of a split, the older layout of VL-T5.

It holds a dataset `{id}/features` per picture; boxes, sizes and object names beside it are not read
(`feature_extraction/tsv_to_h5.py` of https://github.com/j-min/VL-T5).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vlbench.data.stores.base import Array
from vlbench.data.stores.foreign import ForeignStore
from vlbench.data.stores.hdf5 import features_of, open_file


class Hdf5Split(ForeignStore):
    """The file is opened once in each process, when its first features are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._process = 0
        with open_file(path) as file:
            ids = list(file)
        super().__init__(path, ids)
        self.close()  # so that a fork that follows inherits nothing

    def load(self, image: str) -> Array:
        """The array of that picture."""
        if self._process != os.getpid():  # a handle of the parent is not to be touched
            self._file, self._process = open_file(self.path), os.getpid()
        return features_of(self._file, self.path, image)

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._process == os.getpid():
            self._file.close()
        self._file, self._process = None, 0
