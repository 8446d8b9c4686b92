"""Our own stores: what a frozen encoder made of each picture, memory-mapped, shared by readers.

On disk a folder: `features.npy`, (n, tokens, width) float16, and `index.json` with the ids in the
same order. It is written under another name, renamed when complete, and never changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vlbench.data.stores.base import Array, Store
from vlbench.errors import DataError, MissingError
from vlbench.files import flush, remove_dead_beside, temporary_beside

SCHEMA = "vlbench.features/1"
INDEX, FEATURES = "index.json", "features.npy"


class FeatureStore(Store):
    """The store in a folder; MissingError if there is none, DataError if it is damaged."""

    def __init__(self, path: Path) -> None:
        try:
            index = json.loads((path / INDEX).read_bytes())
            features = np.load(path / FEATURES, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise MissingError(f"{path}: no feature store: {error.filename} is missing") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: damaged feature store: {error}") from None
        if not isinstance(index, dict) or index.get("schema") != SCHEMA:
            raise DataError(f"{path / INDEX}: not of the schema {SCHEMA}")
        shape = (len(index.get("ids", ())), index.get("tokens"), index.get("width"))
        if features.shape != shape or features.dtype != np.float16:
            raise DataError(
                f"{path / FEATURES}: holds {features.dtype} {features.shape}, "
                f"the index says float16 {shape}"
            )
        self.path, self.index, self.width = path, index, features.shape[2]
        self.ids = {image: row for row, image in enumerate(index["ids"])}
        stamps = dict(zip(self.ids, index.get("stamps", ()), strict=False))
        self.about = {"encoder": index.get("encoder"), "stamps": stamps}
        self._features: Array = features.view(np.ndarray)

    def load(self, image: str) -> Array:
        return np.array(self._features[self.ids[image]])

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width) float16, a copy."""
        self.require(ids)
        return self._features[[self.ids[image] for image in ids]]

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over the encoder and the pictures' pixels: the same on every machine.

        The features themselves differ in the last bits between processors.
        """
        pictures = self.index.get("pictures") or self.index["ids"]
        lines = [f"{image} {pictures[self.ids[image]]}\n" for image in sorted(set(ids))]
        encoder = json.dumps(self.index.get("encoder"), sort_keys=True)
        return hashlib.sha256("".join([encoder, *lines]).encode()).hexdigest()


def write_store(
    path: Path,
    batches: Iterable[tuple[Sequence[str], ArrayLike]],
    details: Mapping[str, Any] | None = None,
) -> FeatureStore:
    """Write (n ids, (n, tokens, width) features) batch by batch; a store that is complete stays.

    `details` goes into the index, as it is when the last batch is written.
    """
    ids: list[str] = []

    def blocks() -> Iterator[Array]:
        for names, features in batches:
            ids.extend(names)
            yield np.asarray(features).astype("<f2")

    with whole_folder(path) as folder:
        _, tokens, width = write_array(folder / FEATURES, blocks())
        index = {"schema": SCHEMA, "tokens": tokens, "width": width, **(details or {}), "ids": ids}
        (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    return FeatureStore(path)


def write_array(path: Path, blocks: Iterator[Array]) -> tuple[int, ...]:
    """Write (n, ...) blocks of one shape below each other as a `.npy` file; the whole's shape."""
    block = next(blocks)
    shape, dtype = block.shape, block.dtype.str
    with path.open("wb") as file:

        def write_header() -> None:  # NumPy leaves room in it for the number of rows to grow
            head = {"descr": dtype, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, head)

        write_header()
        file.write(block.tobytes())
        for block in blocks:
            file.write(block.tobytes())
            shape = (shape[0] + len(block), *shape[1:])
        file.seek(0)
        write_header()
    return shape


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is named `path` when the block has ended well, and removed if not.

    A store that another process completed meanwhile stays; what else is there is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_dead_beside(path)
    beside = temporary_beside(path)
    beside.mkdir()
    try:
        yield beside
        for written in (*beside.iterdir(), beside):
            flush(written)
        try:
            beside.rename(path)
        except OSError:
            try:
                FeatureStore(path)
            except MissingError:
                damaged = temporary_beside(path)
                path.rename(damaged)
                beside.rename(path)
                shutil.rmtree(damaged)
        flush(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def partial_of(store: Path) -> Path:
    """Where a store lies while it is being extracted."""
    return store.with_name(f"{store.name}.partial")
