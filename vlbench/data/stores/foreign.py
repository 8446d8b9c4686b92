"""Stores that others wrote: nothing in them is trusted, so every array is checked as it is read."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vlbench.data.stores.base import Array, Store
from vlbench.errors import DataError, MissingError

SAMPLE = 64
"""Features whose bytes go into a fingerprint: hashing 45 GB at each start would hurt."""
NAMED = "features"
"""What every published layout calls the array."""


class ForeignStore(Store):
    """One array per id, float16 or float32, of one width; which ids there are is known at opening.

    A pickled store is opened again where it is unpickled.
    """

    def __init__(self, path: Path, ids: Collection[str], width: int | None = None) -> None:
        self.path = path
        self.ids = frozenset(ids)
        if not self.ids:
            raise MissingError(f"{path}: a feature store without a single feature")
        self.width = width or self.read(min(self.ids)).shape[1]

    @abstractmethod
    def load(self, image: str) -> Array:
        """The array as it lies there, of an id that is there; DataError where it is damaged."""

    def read(self, image: str) -> Array:
        """The features of a picture or clip, (tokens, width), float16 or float32."""
        if image not in self.ids:
            raise DataError(f"{self.path}: no features of {image}")
        return checked(self.load(image), f"{self.path}: {image}", getattr(self, "width", None))

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold, each once; opens no file."""
        return [image for image in dict.fromkeys(ids) if image not in self.ids]

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over all ids, and over shape, type and bytes of up to 64 features.

        A sample: those with the smallest hashes of their ids, the same on every machine.
        """
        wanted = sorted(set(ids))
        sample = sorted(wanted, key=lambda image: (_hash(image), image))[:SAMPLE]
        lines = [f"{image}\n" for image in wanted]
        for image in sample:
            found = self.read(image)
            values = np.ascontiguousarray(found.astype(found.dtype.newbyteorder("<")))
            content = hashlib.sha256(values.tobytes()).hexdigest()
            lines.append(f"{image} {found.shape} {found.dtype.name} {content}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)


def checked(features: Array, where: str, width: int | None) -> Array:
    """The array, if it is (tokens, width) of finite float16 or float32, tokens at least 1."""
    if features.ndim != 2 or not features.size:
        raise DataError(f"{where}: should be (tokens, width), found {features.shape}")
    if features.dtype not in (np.float16, np.float32):
        raise DataError(f"{where}: should be float16 or float32, found {features.dtype}")
    if width is not None and features.shape[1] != width:
        raise DataError(f"{where}: has width {features.shape[1]}, the others have {width}")
    if not np.isfinite(features).all():
        raise DataError(f"{where}: features are not finite")
    return features


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
