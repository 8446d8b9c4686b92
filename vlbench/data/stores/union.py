"""Several stores as one: the first that holds an id gives its features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vlbench.data.stores.base import Array, Store, check_shapes
from vlbench.errors import DataError

AT_ONCE = 8
"""Features that are copied at a time, so that not a whole batch waits in memory a second time."""


class Union(Store):
    """Stores of one encoder and width, such as one per split."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(stores)
        self.path = stores[0].path
        self.width = stores[0].width
        self.encoder = next((store.encoder for store in stores if store.encoder), None)
        for store in stores[1:]:
            if store.width != self.width:
                raise DataError(
                    f"{store.path}: holds features of width {store.width}, {self.path} of "
                    f"{self.width}: stores that are read together must agree."
                )

    def read(self, image: str) -> Array:
        """From the first store that has it."""
        for store in self.stores:
            if not store.missing([image]):
                return store.read(image)
        raise DataError(f"{self.path}: no features of {image}, nor in the other stores")

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width), each from the first store that has it."""
        parts, left = self._shared_out(ids)
        if left:
            raise DataError(f"{self.path}: no features of {left[0]}, nor in the other stores")
        if len(parts) == 1:
            return parts[0][0].get(ids)
        firsts = [(held[0], store.read(held[0])) for store, held in parts]
        check_shapes(self.path, firsts)
        together = np.empty((len(ids), *firsts[0][1].shape), firsts[0][1].dtype)
        for store, held in parts:
            theirs = set(held)
            places = [place for place, image in enumerate(ids) if image in theirs]
            for start in range(0, len(places), AT_ONCE):
                some = places[start : start + AT_ONCE]
                read = store.get([ids[place] for place in some])
                check_shapes(self.path, [firsts[0], (ids[some[0]], read[0])])
                wide = np.result_type(together.dtype, read.dtype)
                together = together.astype(wide, copy=False)  # no number loses digits
                together[some] = read
        return together

    def prepare(self, say: Callable[[str], None]) -> None:
        """Prepare each store."""
        for store in self.stores:
            store.prepare(say)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those that no store holds."""
        left = list(dict.fromkeys(ids))
        for store in self.stores:
            left = store.missing(left)
        return left

    def fingerprint(self, ids: Iterable[str]) -> str:
        """Over those of the stores that are read, each for what is read of it."""
        parts = [store.fingerprint(held) for store, held in self._shared_out(ids)[0]]
        if len(parts) == 1:
            return parts[0]
        return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()

    def _shared_out(self, ids: Iterable[str]) -> tuple[list[tuple[Store, list[str]]], list[str]]:
        """The stores that are read, each with what it is read for, each id once; and the rest."""
        left, parts = list(dict.fromkeys(ids)), []
        for store in self.stores:
            lacking = set(store.missing(left))
            if held := [image for image in left if image not in lacking]:
                parts.append((store, held))
            left = [image for image in left if image in lacking]
        return parts, left
