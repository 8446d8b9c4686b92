"""Run a frozen encoder over pictures or clips, into a named store or, for a run, into the cache.

A shard at a time, each on the disk whole or not at all: after a kill the same command goes on.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vlbench.data.example import first_lines
from vlbench.data.images import clips_below, open_clip, open_image, pictures_below
from vlbench.data.stores.base import Array, fixed_frames
from vlbench.data.stores.own import CLIPS, INDEX, FeatureStore, Line, read_index, write_store
from vlbench.errors import DataError, MissingError, RunFailed, UsageError
from vlbench.files import cache_folder, writing, writing_cache
from vlbench.lock import Lock

BATCH_SIZE = 64
CLIPS_AT_ONCE = 4  # whose frames are held in memory together: a clip may have hundreds
LOCK_FILES = {"lock", "holder.json"}
Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all) after each batch."""
Say = Callable[[str], None]


class Encoder(Protocol):
    """A frozen encoder of pictures.

    One of clips, too, has `encode_frames`, n pictures -> (n, frame_width), and `frame_width`.
    """

    name: str
    hash: str  # of weights and preprocessing: another hash, other features
    tokens: int
    width: int

    def encode(self, images: list[Any], /) -> ArrayLike:
        """n RGB pictures of any size, or n clips as lists of them -> (n, tokens, width) floats."""
        ...


class ClipEncoder:
    """An encoder of clips, frame by frame; a fixed number of frames, or 0: as many as there are."""

    def __init__(self, frame_encoder: Any, frames: int) -> None:
        self.frame_encoder, self.tokens = frame_encoder, frames
        self.name, self.hash = f"{frame_encoder.name}{CLIPS}", frame_encoder.hash
        if not (hasattr(frame_encoder, "encode_frames") and hasattr(frame_encoder, "frame_width")):
            name, needed = frame_encoder.name, "encode_frames and frame_width"
            raise UsageError(f"Encoder '{name}' encodes pictures only: clips need {needed}.")
        self.width: int = frame_encoder.frame_width

    def encode(self, clips: Sequence[list[Image.Image]]) -> NDArray[Any]:
        """n clips -> (n, frames, width)."""
        frames = [frame for clip in clips for frame in clip]
        starts = range(0, len(frames), BATCH_SIZE)
        parts = (frames[start : start + BATCH_SIZE] for start in starts)
        features = np.concatenate([self.frame_encoder.encode_frames(part) for part in parts])
        by_clip = np.split(features, np.cumsum([len(clip) for clip in clips])[:-1])
        return np.stack([fixed_frames(clip, self.tokens or len(clip)) for clip in by_clip])


def extract_below(
    encoder: Any,
    images: Path,
    store: Path,
    is_video: bool,
    progress: Progress,
    say: Say,
    by_path: bool = False,
) -> FeatureStore:
    """The store of all pictures below a folder, or of all clips there in their full length."""
    if is_video:
        return extract(ClipEncoder(encoder, 0), clips_below(images, by_path), store, progress, say)
    return extract(encoder, pictures_below(images, by_path), store, progress, say)


def extract(
    encoder: Encoder,
    images: Mapping[str, Path],
    folder: Path | None = None,
    progress: Progress = lambda done, total: None,
    say: Say = lambda _: None,
) -> FeatureStore:
    """The features of these pictures, or clips; what the store has is not extracted again.

    Without a folder the store is in the cache, one for each encoder and set of pictures: their
    paths, sizes and times. Unreadable pictures hold up no other: one error at the end lists them.
    """
    stamps = {image: _stamp(path) for image, path in images.items()}
    identity = {key: getattr(encoder, key) for key in ("name", "hash", "tokens", "width")}
    explained = writing(folder) if folder else writing_cache()
    if folder is None:
        key = _hash(repr((identity, sorted(stamps.items()))).encode())
        folder = cache_folder() / "features" / f"{encoder.name}-{key}"
    with explained:
        if _extracted(folder, identity, stamps)[1]:
            return FeatureStore(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with Lock(folder).acquire(waiting=lambda: say(f"{folder}: another process extracts it")):
            kept, _ = _extracted(folder, identity, stamps)
            done = {image for line in kept for image in line["ids"]}
            pending = {image: images[image] for image in sorted(images.keys() - done)}
            shards = _shards(encoder, pending, stamps, progress)
            return write_store(folder, shards, identity, kept)


def _extracted(
    folder: Path, identity: dict[str, Any], stamps: Mapping[str, str]
) -> tuple[list[Line], bool]:
    """The shards of these pictures that are there, and whether these are all."""
    try:
        begun_with, lines, is_complete = read_index(folder)
    except MissingError as error:
        names = os.listdir(folder) if folder.is_dir() else []
        is_begun = INDEX in names  # by another process, since it was looked for
        if not is_begun and any(name not in LOCK_FILES and name[0] != "." for name in names):
            raise UsageError(f"{folder}: something else is there already: {error}") from None
        return [], False
    done = {i: s for line in lines for i, s in zip(line["ids"], line["stamps"], strict=True)}
    changed = [image for image, stamp in done.items() if stamps.get(image) != stamp]
    if begun_with != identity or changed:
        of = f"pictures that are gone or have changed, such as {changed[0]}" if changed else ""
        raise UsageError(
            f"{folder}: there are features of {of or 'another encoder'}. Delete it to begin anew, "
            "or name another folder."
        )
    return lines, is_complete and len(done) == len(stamps)


def _shards(
    encoder: Encoder, images: Mapping[str, Path], stamps: Mapping[str, str], progress: Progress
) -> Iterator[tuple[Line, Array]]:
    """Encode pictures or clips; at the end DataError lists those that cannot be read."""
    opener: Callable[[Path], Any] = open_image
    size, ids, faults = BATCH_SIZE, list(images), []
    if isinstance(encoder, ClipEncoder):
        opener, size = open_clip, CLIPS_AT_ONCE if encoder.tokens else 1
    done = len(stamps) - len(ids)
    progress(done, len(stamps))
    for start in range(0, len(ids), size):
        pictures = {}
        for image in ids[start : start + size]:
            try:
                pictures[image] = opener(images[image])
            except DataError as error:
                faults.append(str(error))
        if pictures:
            hashes = [_pixel_hash(picture) for picture in pictures.values()]
            line = {"ids": list(pictures), "stamps": [stamps[image] for image in pictures]}
            yield line | {"pictures": hashes}, _encoded(encoder, pictures)
        progress(done + min(start + size, len(ids)), len(stamps))
    if faults:
        lines = "".join(f"\n  {line}" for line in first_lines(faults))
        raise DataError(
            f"{len(faults):,} pictures or clips cannot be read:{lines}\n"
            "Repair or remove them and start the same command again: the others are kept."
        )


def _encoded(encoder: Encoder, pictures: dict[str, Any]) -> Array:
    """(n, tokens, width); RunFailed where the encoder makes another shape, or what is too large."""
    images = list(pictures.values())
    with np.errstate(over="ignore"):
        rows = np.asarray(encoder.encode(images)).astype("<f2")
    shape = (len(images), encoder.tokens or len(images[0]), encoder.width)
    if rows.shape != shape:
        raise RunFailed(f"{encoder.name}: features should be {shape}, found {rows.shape}")
    for image, row in zip(pictures, rows, strict=True):
        if not np.isfinite(row).all():
            raise RunFailed(f"{encoder.name}: features of {image} are not finite in float16")
    return rows


def _pixel_hash(picture: Image.Image | list[Image.Image]) -> str:
    """Short hash of the pixels of a picture, or of all frames of a clip."""
    frames = [picture] if isinstance(picture, Image.Image) else picture
    return _hash(b"".join(repr(image.size).encode() + image.tobytes() for image in frames))


def _stamp(path: Path) -> str:
    """Short hash of path, size and time of a file, or of a folder and the files in it."""
    try:
        status = os.stat(path)
        text = f"{os.path.abspath(path)}\n{status.st_size}\n{status.st_mtime_ns}"
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as entries:
                files = sorted((entry.name, entry.stat()) for entry in entries)
            text += "".join(f"\n{name} {of.st_size} {of.st_mtime_ns}" for name, of in files)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return _hash(text.encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
