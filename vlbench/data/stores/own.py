"""Our own stores: what a frozen encoder made of each picture, memory-mapped, shared by readers.

On disk a folder: `features.npy`, (n, tokens, width) float16, and `index.json` with the ids in the
same order. It is written under another name, renamed when complete, and never changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlbench.data.faults import SHOWN
from vlbench.data.stores.base import Store
from vlbench.errors import DataError, MissingError, RunFailed
from vlbench.files import flush, remove_dead_beside, temporary_beside

SCHEMA = "vlbench.features/1"
INDEX = "index.json"
Features = NDArray[np.float16]


class FeatureStore(Store):
    """A complete store, read only; safe to use in forked and spawned worker processes."""

    def __init__(self, folder: Path, index: dict[str, Any], features: Features) -> None:
        self.folder = self.path = folder
        self.index = index
        self.encoder = (index.get("encoder") or {}).get("name")
        self.ids: list[str] = index["ids"]
        self.tokens, self.width = features.shape[1:]
        self._features = features
        self._rows = {image: row for row, image in enumerate(self.ids)}

    @classmethod
    def open(cls, folder: Path) -> FeatureStore:
        """The store in `folder`; MissingError if there is none, DataError if it is damaged."""
        try:
            index = json.loads((folder / INDEX).read_bytes())
            features = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise MissingError(
                f"{folder}: no feature store: {error.filename} is not there"
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: damaged feature store: {error}") from None
        if not isinstance(index, dict) or index.get("schema") != SCHEMA:
            raise DataError(f"{folder / 'index.json'}: not of the schema {SCHEMA}")
        shape = (len(index.get("ids", ())), index.get("tokens"), index.get("width"))
        if features.shape != shape or features.dtype != np.float16:
            raise DataError(
                f"{folder / 'features.npy'}: holds {features.dtype} {features.shape}, "
                f"the index tells float16 {shape}"
            )
        return cls(folder, index, features.view(np.ndarray))

    def read(self, image: str) -> Features:
        """(tokens, width) float16, a copy."""
        features: Features = self.get([image])[0]
        return features

    def get(self, ids: Sequence[str]) -> Features:
        """Image ids -> (n, tokens, width) float16, a copy."""
        try:
            rows = [self._rows[image] for image in ids]
        except KeyError:
            missing = self.missing(ids)
            listed = ", ".join(missing[:SHOWN])
            raise DataError(
                f"{self.folder}: no features of {len(missing):,} images: {listed}"
            ) from None
        return self._features[rows]

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold, each once."""
        return [image for image in dict.fromkeys(ids) if image not in self._rows]

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over the encoder and the pictures' pixels: the same on every machine.

        The features themselves differ in the last bits between processors.
        """
        pictures = self.index.get("pictures", self.ids)
        lines = [f"{image} {pictures[self._rows[image]]}\n" for image in sorted(set(ids))]
        encoder = json.dumps(self.index.get("encoder"), sort_keys=True)
        return hashlib.sha256("".join([encoder, *lines]).encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureStore.open, (self.folder,)  # a spawned worker maps the file itself


class FeatureWriter:
    """Writes a store row by row; nothing stands under its name until `finish`.

    `with FeatureWriter(folder, 36, 2048) as writer:` takes back what was written if `finish` is not
    reached.
    """

    def __init__(self, folder: Path, tokens: int, width: int) -> None:
        self.folder = folder
        self.shape = (tokens, width)
        self.ids: list[str] = []
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_dead_beside(folder)
        self._beside = temporary_beside(folder)
        self._beside.mkdir()
        self._file = (self._beside / "features.npy").open("wb")
        self._write_header()

    def add(self, ids: Sequence[str], features: ArrayLike) -> None:
        """Append (n, tokens, width) features of n images."""
        rows = float16_rows(features, (len(ids), *self.shape), ids, self.folder)
        self._file.write(rows.tobytes())
        self.ids += ids

    def finish(self, **details: Any) -> FeatureStore:
        """Complete the store, with `details` in its index; a store that is there already stays."""
        if len(set(self.ids)) != len(self.ids):
            raise RunFailed(f"{self.folder}: an image was added twice")
        self._file.seek(0)
        self._write_header()
        self._file.close()
        tokens, width = self.shape
        index = {"schema": SCHEMA, "tokens": tokens, "width": width, **details, "ids": self.ids}
        (self._beside / INDEX).write_text(json.dumps(index), encoding="utf-8")
        for path in (self._beside / "features.npy", self._beside / INDEX, self._beside):
            flush(path)
        try:
            self._beside.rename(self.folder)
        except OSError:  # something is there already: keep it if it is a store
            try:
                return FeatureStore.open(self.folder)
            except MissingError:
                damaged = temporary_beside(self.folder)
                self.folder.rename(damaged)
                self._beside.rename(self.folder)
                shutil.rmtree(damaged)
        flush(self.folder.parent)
        return FeatureStore.open(self.folder)

    def _write_header(self) -> None:
        """Write the head of the .npy file; NumPy leaves room for the number of rows to grow."""
        shape = (len(self.ids), *self.shape)
        head = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, head)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._file.close()
        finally:  # a full disk refuses what was not written yet
            shutil.rmtree(self._beside, ignore_errors=True)


def float16_rows(
    features: ArrayLike, shape: tuple[int, ...], ids: Sequence[str], store: Path
) -> Features:
    """Features as the store keeps them; RunFailed if of another shape, or too large to keep."""
    with np.errstate(over="ignore"):
        rows = np.asarray(features).astype("<f2")
    if rows.shape != shape:
        raise RunFailed(f"{store}: features should be {shape}, found {rows.shape}")
    if not np.isfinite(rows).all():
        finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        wrong = ids[int(np.flatnonzero(~finite)[0])]
        raise RunFailed(f"{store}: features of {wrong} are not finite in float16")
    return rows


def partial_of(store: Path) -> Path:
    """Where a store lies while it is being extracted."""
    return store.with_name(f"{store.name}.partial")
