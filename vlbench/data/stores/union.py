"""Several stores as one: the first that holds an id gives its features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from vlbench.data.stores.base import Array, Store, stacked
from vlbench.errors import DataError


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
        """Ids -> (n, tokens, width), each store asked once."""
        left = list(dict.fromkeys(ids))
        found: dict[str, Array] = {}
        for store in self.stores:
            lacking = set(store.missing(left))
            held = [image for image in left if image not in lacking]
            if held:
                found.update(zip(held, store.get(held), strict=True))
            left = [image for image in left if image in lacking]
        if left:
            raise DataError(f"{self.path}: no features of {left[0]}, nor in the other stores")
        return stacked(self.path, ids, [found[image] for image in ids])

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
        left, parts = list(dict.fromkeys(ids)), []
        for store in self.stores:
            lacking = set(store.missing(left))
            held = [image for image in left if image not in lacking]
            if held:
                parts.append(store.fingerprint(held))
            left = [image for image in left if image in lacking]
        if len(parts) == 1:
            return parts[0]
        return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()
