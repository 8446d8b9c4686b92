"""Feature stores, read only: one array per picture or clip, by its id; several may be one store."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.errors import DataError

Array = NDArray[Any]
COPIED_AT_ONCE = 8
"""Features that a union copies at a time, so that no whole batch waits in memory twice."""


class Store(ABC):
    """Features of a frozen encoder; safe in forked and spawned worker processes."""

    path: Path
    """Where it lies, for messages."""
    width: int
    """Numbers of one token, or of one frame."""
    encoder: str | None = None
    """The encoder they come from, where the store names it."""

    @abstractmethod
    def read(self, image: str) -> Array:
        """The features of a picture or clip, (tokens, width), float16 or float32.

        DataError with file and id where they are damaged or missing.
        """

    @abstractmethod
    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold, without duplicates; reads no features."""

    @abstractmethod
    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 of these features: the same on every machine."""

    def prepare(self, say: Callable[[str], None]) -> None:
        """Do at once what the first reading of each part would wait for; `say` logs it."""
        return

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width), a copy; all must have as many tokens."""
        features = [self.read(image) for image in ids]
        check_shapes(self.path, list(zip(ids, features, strict=True)))
        return np.stack(features)


def check_shapes(path: Path, features: Sequence[tuple[str, Array]]) -> None:
    """Raise DataError where the features of two pictures differ in shape."""
    first, shape = features[0][0], features[0][1].shape
    for image, array in features:
        if array.shape != shape:
            raise DataError(
                f"{path}: the features of {image} are {array.shape}, those of {first} {shape}: "
                "pictures that are read together must have as many tokens."
            )


class Union(Store):
    """Stores of one encoder and width, such as one per split; the first that holds an id counts."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(stores)
        self.path, self.width = stores[0].path, stores[0].width
        self.encoder = next((store.encoder for store in stores if store.encoder), None)
        for store in stores[1:]:
            if store.width != self.width:
                raise DataError(
                    f"{store.path}: holds features of width {store.width}, {self.path} of "
                    f"{self.width}: stores that are read together must agree."
                )

    def read(self, image: str) -> Array:
        """(tokens, width) from the first store that holds it."""
        for store in self.stores:
            if not store.missing([image]):
                return store.read(image)
        raise DataError(f"{self.path}: no features of {image}, nor in the other stores")

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width)."""
        parts, rest = self._partition(ids)
        if rest:
            raise DataError(f"{self.path}: no features of {rest[0]}, nor in the other stores")
        if len(parts) == 1:
            return parts[0][0].get(ids)
        firsts = [(members[0], store.read(members[0])) for store, members in parts]
        check_shapes(self.path, firsts)
        features = np.empty((len(ids), *firsts[0][1].shape), firsts[0][1].dtype)
        for store, members in parts:
            held = set(members)
            rows = [row for row, image in enumerate(ids) if image in held]
            for start in range(0, len(rows), COPIED_AT_ONCE):
                some = rows[start : start + COPIED_AT_ONCE]
                read = store.get([ids[row] for row in some])
                check_shapes(self.path, [firsts[0], (ids[some[0]], read[0])])
                widest = np.result_type(features.dtype, read.dtype)
                features = features.astype(widest, copy=False)  # no number loses digits
                features[some] = read
        return features

    def prepare(self, say: Callable[[str], None]) -> None:
        """Prepare every store."""
        for store in self.stores:
            store.prepare(say)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those that no store holds."""
        rest = list(dict.fromkeys(ids))
        for store in self.stores:
            rest = store.missing(rest)
        return rest

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over the stores that are read, of what is read of them."""
        parts = [store.fingerprint(members) for store, members in self._partition(ids)[0]]
        if len(parts) == 1:
            return parts[0]
        return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()

    def _partition(self, ids: Iterable[str]) -> tuple[list[tuple[Store, list[str]]], list[str]]:
        """The stores that are read with the ids they are read for, and the ids of no store."""
        rest, parts = list(dict.fromkeys(ids)), []
        for store in self.stores:
            lacking = set(store.missing(rest))
            if held := [image for image in rest if image not in lacking]:
                parts.append((store, held))
            rest = [image for image in rest if image in lacking]
        return parts, rest


class FixedFrames(Store):
    """A store of clips of any length, read as clips of a fixed number of frames."""

    def __init__(self, store: Store, frames: int) -> None:
        self.store, self.frames = store, frames
        self.path, self.width, self.encoder = store.path, store.width, store.encoder

    def read(self, image: str) -> Array:
        """The clip's features (frames, width)."""
        return fixed_frames(self.store.read(image), self.frames)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold."""
        return self.store.missing(ids)

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
