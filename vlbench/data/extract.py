"""Run a frozen encoder over pictures once; the next run finds the features in the cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import ArrayLike
from PIL import Image

from vlbench.data.faults import Faults
from vlbench.data.features import FeatureStore, FeatureWriter
from vlbench.data.images import open_image
from vlbench.errors import DataError, MissingError, RunFailed

BATCH_SIZE = 64
Progress = Callable[[int, int], None]
"""Told (pictures done, pictures in all) after each batch."""


class Encoder(Protocol):
    """What turns pictures into features, frozen."""

    name: str
    hash: str
    """Of weights and preprocessing: another hash, other features."""
    tokens: int
    width: int

    def encode(self, images: list[Image.Image]) -> ArrayLike:
        """n RGB pictures of any size -> (n, tokens, width) floats."""
        ...


def extract(
    encoder: Encoder,
    images: Mapping[str, Path],
    out_folder: Path,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> FeatureStore:
    """Write the features of pictures (id -> file) as a store; unreadable ones are told together."""
    faults = Faults()
    ids, stamps, pictures = sorted(images), stamps_of(images), []
    try:
        with FeatureWriter(out_folder, encoder.tokens, encoder.width) as writer:
            rest = iter(ids)
            while batch := list(islice(rest, batch_size)):
                opened = [_open(images[image], faults) for image in batch]
                good = [image for image in opened if image is not None]
                pictures += [_pixel_hash(image) for image in good]
                if not faults.texts:  # after a fault only the other faults are of interest
                    writer.add(batch, encoder.encode(good))
                if progress is not None:
                    progress(min(len(pictures) + len(faults.texts), len(ids)), len(ids))
            faults.refuse()
            return writer.finish(
                encoder=identity(encoder),
                stamps=[stamps[image] for image in ids],
                pictures=pictures,
            )
    except OSError as error:
        raise RunFailed(f"{out_folder}: cannot be written: {error.strerror}") from None


def store_for(
    encoder: Encoder,
    images: Mapping[str, Path],
    cache: Path,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> FeatureStore:
    """The features of these pictures from a store in the cache that holds them all, else extracted.

    A store serves as long as encoder, paths, sizes and times of the files are what they were.
    """
    stamps = stamps_of(images)
    key = hashlib.sha256("".join(f"{image} {stamps[image]}\n" for image in sorted(images)).encode())
    encoder_hash = hashlib.sha256(repr(sorted(identity(encoder).items())).encode()).hexdigest()
    stores = cache / "features" / f"{encoder.name}-{encoder_hash[:12]}"
    own = stores / key.hexdigest()[:16]
    others = sorted(folder for folder in stores.glob("*/") if not folder.name.startswith("."))
    for folder in dict.fromkeys([own, *others]):
        try:
            store = FeatureStore.open(folder)
        except MissingError:  # absent or damaged
            continue
        held = dict(zip(store.ids, store.index.get("stamps", ()), strict=False))
        if all(held.get(image) == stamp for image, stamp in stamps.items()):
            return store
    return extract(encoder, images, own, batch_size, progress)


def identity(encoder: Encoder) -> dict[str, Any]:
    """What makes two encoders the same."""
    return {key: getattr(encoder, key) for key in ("name", "hash", "tokens", "width")}


def stamps_of(images: Mapping[str, Path]) -> dict[str, str]:
    """Image id -> short hash of its file's path, size and time; missing files are told together."""
    faults = Faults()
    stamps = {}
    for image, path in images.items():
        try:
            found = os.stat(path)
        except OSError as error:
            faults.add(path, "", f"picture cannot be read: {error.strerror}")
            continue
        text = f"{os.path.abspath(path)}\n{found.st_size}\n{found.st_mtime_ns}"
        stamps[image] = hashlib.sha256(text.encode()).hexdigest()[:16]
    faults.refuse()
    return stamps


def _open(path: Path, faults: Faults) -> Image.Image | None:
    try:
        return open_image(path)
    except DataError as error:
        faults.texts.append(str(error))
        return None


def _pixel_hash(image: Image.Image) -> str:
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()[:16]
