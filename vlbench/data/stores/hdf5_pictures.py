"""A folder of one HDF5 file per picture, the layout of VL-Adapter's authors.

`{id}.h5` holds the dataset `{id}/features`, (tokens, width), float16 or float32, as
`feature_extraction/coco_CLIP.py` of https://github.com/ylsung/VL_adapter writes it.
"""

from __future__ import annotations

from pathlib import Path

from vlbench.data.stores.base import Array
from vlbench.data.stores.foreign import ForeignStore
from vlbench.data.stores.hdf5 import SUFFIXES, features_of, open_file


class Hdf5Pictures(ForeignStore):
    """No file stays open: each is opened and closed as its picture is read."""

    def __init__(self, path: Path) -> None:
        self._files = {file.stem: file.name for file in hdf5_files(path)}
        super().__init__(path, self._files.keys())

    def load(self, image: str) -> Array:
        """The array in the picture's own file."""
        path = self.path / self._files[image]
        with open_file(path) as file:
            return features_of(file, path, image)


def hdf5_files(folder: Path) -> list[Path]:
    """The HDF5 files that lie in a folder, by name."""
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
