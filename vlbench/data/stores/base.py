"""Feature stores, read only: one array per picture or clip, by its id; several may be one store."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.data.example import SHOWN
from vlbench.errors import DataError

Array = NDArray[Any]
COPIED_AT_ONCE = 8  # features that a union copies, so that they stay in the processor's cache


class Store(ABC):
    """Features of a frozen encoder."""

    path: Path  # where it lies, for messages
    width: int  # numbers of one token, or of one frame
    ids: Mapping[str, Any]  # id of a picture or clip -> where in the store its features are
    about: Mapping[str, Any] = {}
    """What our own stores know of the `encoder` and the `stamps` of the files they come from."""

    @property
    def encoder(self) -> str | None:
        """Name of the encoder that the features come from, where the store says so."""
        return (self.about.get("encoder") or {}).get("name")

    @abstractmethod
    def load(self, image: str) -> Array:
        """Features of a known id, (tokens, width), float16 or float32; DataError if damaged."""

    @abstractmethod
    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 of these features: the same on every machine."""

    def prepare(self, say: Callable[[str], None]) -> None:
        """Do at once what the first reading of each part would wait for; `say` logs it."""
        return

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold, without duplicates; reads no features."""
        return [image for image in dict.fromkeys(ids) if image not in self.ids]

    def require(self, ids: Iterable[str]) -> None:
        """Raise DataError where the store lacks one of the ids."""
        if missing := self.missing(ids):
            raise DataError(f"{self.path}: no features of {', '.join(missing[:SHOWN])}")

    def read(self, image: str) -> Array:
        """The features of a picture or clip, (tokens, width)."""
        self.require([image])
        return self.load(image)

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width), a copy; all must have as many tokens."""
        self.require(ids)
        features = [self.load(image) for image in ids]
        for image, array in zip(ids, features, strict=True):
            self._require_shape(image, array, ids[0], features[0])
        return np.stack(features)  # of float16 and float32 it makes float32

    def _require_shape(self, image: str, array: Array, other: str, expected: Array) -> None:
        if array.shape != expected.shape:
            raise DataError(
                f"{self.path}: the features of {image} are {array.shape}, those of {other} "
                f"{expected.shape}: pictures that are read together must have as many tokens."
            )


class Union(Store):
    """Stores of one encoder and width, such as one per split; the first that holds an id counts."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores, self.path, self.width = stores, stores[0].path, stores[0].width
        self.about = next((store.about for store in stores if store.encoder), {})
        self.ids = {image: store for store in reversed(stores) for image in store.ids}
        for store in stores:
            if store.width != self.width:
                raise DataError(
                    f"{store.path}: holds features of width {store.width}, {self.path} of "
                    f"{self.width}: stores that are read together must agree."
                )

    def load(self, image: str) -> Array:
        features: Array = self.ids[image].load(image)
        return features

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width), some of a store at a time."""
        self.require(ids)
        by_store: dict[Store, list[int]] = {}
        for row, image in enumerate(ids):
            by_store.setdefault(self.ids[image], []).append(row)
        if len(by_store) == 1:
            return next(iter(by_store)).get(ids)
        first = self.load(ids[0])
        features = np.empty((len(ids), *first.shape), first.dtype)
        for store, rows in by_store.items():
            for start in range(0, len(rows), COPIED_AT_ONCE):
                some = rows[start : start + COPIED_AT_ONCE]
                read = store.get([ids[row] for row in some])
                self._require_shape(ids[some[0]], read[0], ids[0], first)
                widest = np.result_type(features, read)  # no number loses digits
                features = features.astype(widest, copy=False)
                features[some] = read
        return features

    def prepare(self, say: Callable[[str], None]) -> None:
        for store in self.stores:
            store.prepare(say)

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
        self.path, self.width, self.about = store.path, store.width, store.about

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
    return np.stack([features[a:b].max(axis=0) for a, b in zip(starts, ends, strict=True)])
