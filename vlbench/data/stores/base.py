"""Feature stores, read only: one array per picture or clip, by its id; several may be one store."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.data.example import SHOWN
from vlbench.errors import DataError

Array = NDArray[Any]


class Store(ABC):
    """Features of a frozen encoder."""

    path: Path  # where it lies, for messages
    width: int  # numbers of one token, or of one frame
    ids: Mapping[str, Any]  # id of a picture or clip -> where in the store its features are
    encoder: str | None = None  # its name, where the store says so

    @abstractmethod
    def load(self, image: str) -> Array:
        """Features of a known id, (tokens, width), float16 or float32; DataError if damaged."""

    @abstractmethod
    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 of these features: the same on every machine."""

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold, without duplicates; reads no features."""
        return [image for image in dict.fromkeys(ids) if image not in self.ids]

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width), a copy; all must have as many tokens."""
        if missing := self.missing(ids):
            raise DataError(f"{self.path}: no features of {', '.join(missing[:SHOWN])}")
        features = [self.load(image) for image in ids]
        shape = features[0].shape
        for image, array in zip(ids, features, strict=True):
            if array.shape != shape:
                both = f"{image} are {array.shape}, those of {ids[0]} {shape}"
                raise DataError(f"{self.path}: the features of {both}: they must be alike.")
        return np.concatenate(features).reshape(len(ids), *shape)


class Union(Store):
    """Stores of one encoder and width, such as one per split; the first that holds an id counts."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.path, self.width = stores[0].path, stores[0].width
        self.encoder = next((store.encoder for store in stores if store.encoder), None)
        self.ids = {image: store for store in reversed(stores) for image in store.ids}
        for store in stores:
            if store.width != self.width:
                both = f"{store.width}, {self.path} of {self.width}"
                raise DataError(f"{store.path}: holds features of width {both}: they must agree.")

    def load(self, image: str) -> Array:
        features: Array = self.ids[image].load(image)
        return features

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over the stores that are read, of what is read of them."""
        by_store: dict[Store, list[str]] = {}
        for image in dict.fromkeys(ids):
            by_store.setdefault(self.ids[image], []).append(image)
        parts = sorted(store.fingerprint(images) for store, images in by_store.items())
        return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


class FixedFrames(Store):
    """A store of clips of any length, read as clips of a fixed number of frames."""

    def __init__(self, store: Store, frames: int) -> None:
        self.store, self.frames, self.ids = store, frames, store.ids
        self.path, self.width, self.encoder = store.path, store.width, store.encoder

    def load(self, image: str) -> Array:
        return fixed_frames(self.store.load(image), self.frames)

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 of the clips as they are stored."""
        return self.store.fingerprint(ids)


def fixed_frames(features: Array, frames: int) -> Array:
    """(T, width) -> (frames, width): zeros behind a short clip, a long one max-pooled over time.

    As in the authors' code; no mask hides the zeros. Frame i of a long clip is the maximum over the
    frames floor(i T / frames) up to ceil((i + 1) T / frames), as in torch's adaptive_max_pool1d.
    """
    length, width = features.shape
    if length <= frames:
        return np.concatenate([features, np.zeros((frames - length, width), features.dtype)])
    starts = [i * length // frames for i in range(frames)]
    ends = [-(-(i + 1) * length // frames) for i in range(frames)]
    wide = features.astype(np.float32)  # of float16 a maximum takes twice the time
    pooled = np.stack([wide[a:b].max(axis=0) for a, b in zip(starts, ends, strict=True)])
    return pooled.astype(features.dtype)
