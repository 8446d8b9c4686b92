"""What every feature store does: one array per picture or clip, by its id."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.errors import DataError

Array = NDArray[Any]


class Store(ABC):
    """Features of a frozen encoder, read only; safe in forked and spawned worker processes."""

    path: Path
    """Where it lies, for messages."""
    width: int
    """Numbers of one token, or of one frame."""
    encoder: str | None = None
    """The encoder they come from, where the store says it."""

    @abstractmethod
    def read(self, image: str) -> Array:
        """The features of a picture or clip, (tokens, width), float16 or float32.

        DataError where it is damaged or not there, with file and id.
        """

    @abstractmethod
    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold, each once; reads no features."""

    @abstractmethod
    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 that says which features these are: the same on every machine."""

    def prepare(self, say: Callable[[str], None]) -> None:
        """Do at once what the first reading of each part would wait for; `say` tells of it."""
        return

    def get(self, ids: Sequence[str]) -> Array:
        """Ids -> (n, tokens, width), a copy; all must have as many tokens."""
        return stacked(self.path, ids, [self.read(image) for image in ids])


def stacked(path: Path, ids: Sequence[str], found: Sequence[Array]) -> Array:
    """The features as one array; DataError where two differ in shape."""
    check_shapes(path, list(zip(ids, found, strict=True)))
    return np.stack(found)


def check_shapes(path: Path, found: Sequence[tuple[str, Array]]) -> None:
    """DataError where the features of two pictures differ in shape."""
    first, shape = found[0][0], found[0][1].shape
    for image, each in found:
        if each.shape != shape:
            raise DataError(
                f"{path}: the features of {image} are {each.shape}, those of {first} {shape}: "
                "pictures that are read together must have as many tokens."
            )
