"""Run a frozen encoder over pictures once; the next run finds the features in the cache."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import ArrayLike
from PIL import Image

from vlbench.data.faults import Faults
from vlbench.data.images import open_image
from vlbench.data.stores.own import FeatureStore, FeatureWriter
from vlbench.errors import DataError, MissingError
from vlbench.files import writing_cache

BATCH_SIZE = 64
Progress = Callable[[int, int], None]
"""Told (pictures done, pictures in all) after each batch."""
Opener = Callable[[Path], Any]
"""A path's picture or frames; DataError where it cannot be read."""


class Encoder(Protocol):
    """What turns pictures into features, frozen."""

    name: str
    hash: str
    """Of weights and preprocessing: another hash, other features."""
    tokens: int
    width: int

    def encode(self, images: list[Any], /) -> ArrayLike:
        """n RGB pictures of any size, or n clips as lists of them -> (n, tokens, width) floats."""
        ...


def extract(
    encoder: Encoder,
    images: Mapping[str, Path],
    out_folder: Path,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
    opened: Opener = open_image,
) -> FeatureStore:
    """Write the features of pictures (id -> file) as a store; unreadable ones are told together.

    `opened` gives what the encoder takes of a path: a picture, or the frames of a clip.
    """
    faults, stamps, pictures = Faults(), stamps_of(images), []
    with FeatureWriter(out_folder, encoder.tokens, encoder.width) as writer:
        for seen in opened_batches(images, sorted(images), batch_size, opened, faults):
            pictures += seen.hashes
            if not faults.texts:  # after a fault only the other faults are of interest
                writer.add(seen.ids, encoder.encode(seen.pictures))
            if progress is not None:
                progress(seen.done, len(images))
        faults.refuse()
        return writer.finish(
            encoder=identity(encoder),
            stamps=[stamps[image] for image in writer.ids],
            pictures=pictures,
        )


class Opened(NamedTuple):
    """A batch of pictures, those that can be read."""

    ids: list[str]
    pictures: list[Any]
    """Each a picture, or the frames of a clip."""
    hashes: list[str]
    """Of their pixels."""
    done: int
    """How many have been looked at, the unreadable ones too."""


def opened_batches(
    images: Mapping[str, Path], ids: Sequence[str], size: int, opened: Opener, faults: Faults
) -> Iterator[Opened]:
    """The pictures `ids` in batches; those that cannot be read are noted and left out."""
    rest, done = iter(ids), 0
    while batch := list(islice(rest, size)):
        seen = {image: _open(images[image], faults, opened) for image in batch}
        good = {image: each for image, each in seen.items() if each is not None}
        done += len(batch)
        yield Opened(list(good), list(good.values()), list(map(_pixel_hash, good.values())), done)


def store_for(
    encoder: Encoder,
    images: Mapping[str, Path],
    cache: Path,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
    opened: Opener = open_image,
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
    with writing_cache():
        return extract(encoder, images, own, batch_size, progress, opened)


def identity(encoder: Encoder) -> dict[str, Any]:
    """What makes two encoders the same."""
    return {key: getattr(encoder, key) for key in ("name", "hash", "tokens", "width")}


def stamps_of(images: Mapping[str, Path], faults: Faults | None = None) -> dict[str, str]:
    """Image id -> short hash of its file's path, size and time; missing files are told together.

    They are noted in `faults` where it is given.
    """
    noted = Faults() if faults is None else faults
    stamps = {}
    for image, path in images.items():
        try:
            stamps[image] = _stamp(path)
        except OSError as error:
            noted.add(path, "", f"picture cannot be read: {error.strerror}")
    if faults is None:
        noted.refuse()
    return stamps


def _stamp(path: Path) -> str:
    """Of a file, or of a folder with the files in it."""
    found = os.stat(path)
    text = f"{os.path.abspath(path)}\n{found.st_size}\n{found.st_mtime_ns}"
    if stat.S_ISDIR(found.st_mode):
        with os.scandir(path) as entries:
            each = sorted((entry.name, entry.stat()) for entry in entries)
        text += "".join(f"\n{name} {of.st_size} {of.st_mtime_ns}" for name, of in each)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _open(path: Path, faults: Faults, opened: Opener) -> Any:
    try:
        return opened(path)
    except DataError as error:
        faults.texts.append(str(error))
        return None


def _pixel_hash(seen: Image.Image | list[Image.Image]) -> str:
    """Of a picture, or of all frames of a clip."""
    hashed = hashlib.sha256()
    for image in [seen] if isinstance(seen, Image.Image) else seen:
        hashed.update(repr(image.size).encode() + image.tobytes())
    return hashed.hexdigest()[:16]
