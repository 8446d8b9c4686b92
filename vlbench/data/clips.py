"""Clips as features: one vector per frame, a fixed number of frames per clip.

A clip of fewer frames ends with zeros, which no mask hides; one of more is max-pooled over time, as
in the authors' code. On the disk a clip is a folder of pictures, whose names
sort in the order of time where numbers in them count as numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlbench.data.images import open_image
from vlbench.data.picture_folders import PICTURE_SUFFIXES, pictures_in
from vlbench.data.stores.base import Store
from vlbench.errors import DataError, MissingError, UsageError

Array = NDArray[Any]
FRAMES_AT_ONCE = 64
"""Frames that go through an encoder together."""


def fixed_frames(features: Array, frames: int) -> Array:
    """(T, width) -> (frames, width): zeros behind a short clip, a long one max-pooled over time.

    Frame i of a long clip is the maximum over the frames floor(i T / frames) up to
    ceil((i + 1) T / frames), as torch's adaptive_max_pool1d has it.
    """
    found, width = features.shape
    if found <= frames:
        return np.concatenate([features, np.zeros((frames - found, width), features.dtype)])
    starts = [i * found // frames for i in range(frames)]
    ends = [-(-(i + 1) * found // frames) for i in range(frames)]
    return np.stack([features[a:b].max(axis=0) for a, b in zip(starts, ends, strict=True)])


class FixedFrames(Store):
    """A store of clips of any length, read as clips of a fixed number of frames."""

    def __init__(self, store: Store, frames: int) -> None:
        self.store = store
        self.frames = frames
        self.path = store.path
        self.width = store.width
        self.encoder = store.encoder

    def read(self, image: str) -> Array:
        """The clip's features (frames, width)."""
        return fixed_frames(self.store.read(image), self.frames)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that the store does not hold, each once."""
        return self.store.missing(ids)

    def fingerprint(self, ids: Iterable[str]) -> str:
        """Of the clips as they are stored."""
        return self.store.fingerprint(ids)


class FrameEncoder(Protocol):
    """What makes one vector of each frame."""

    name: str
    hash: str
    frame_width: int

    def encode_frames(self, images: list[Image.Image]) -> Array:
        """n RGB pictures -> (n, frame_width)."""
        ...


def require_frames(encoder: Any) -> None:
    """Refuse an encoder that makes nothing of frames."""
    if not (hasattr(encoder, "encode_frames") and hasattr(encoder, "frame_width")):
        raise UsageError(
            f"Encoder '{encoder.name}' encodes pictures only: clips need encode_frames and "
            "frame_width."
        )


class ClipEncoder:
    """An encoder of clips made of one of pictures: frame by frame, then a fixed number of them."""

    def __init__(self, frame_encoder: FrameEncoder, frames: int) -> None:
        require_frames(frame_encoder)
        self.frame_encoder = frame_encoder
        self.name = f"{frame_encoder.name}-clips"
        self.hash = frame_encoder.hash
        self.tokens = frames
        self.width = frame_encoder.frame_width

    def encode(self, clips: Sequence[list[Image.Image]]) -> Array:
        """n clips -> (n, frames, width)."""
        frames = [frame for clip in clips for frame in clip]
        starts = range(0, len(frames), FRAMES_AT_ONCE)
        parts = [frames[start : start + FRAMES_AT_ONCE] for start in starts]
        found = np.concatenate([self.frame_encoder.encode_frames(part) for part in parts])
        ends = np.cumsum([len(clip) for clip in clips])[:-1]
        return np.stack([fixed_frames(each, self.tokens) for each in np.split(found, ends)])


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a clip's folder in the order of time."""
    if not folder.is_dir():
        raise MissingError(f"{folder}: no such clip: it should be a folder of frames")
    files = pictures_in(folder)
    if not files:
        raise DataError(f"{folder}: no frames, which would be {' or '.join(PICTURE_SUFFIXES)}")
    return files


def open_clip(folder: Path) -> list[Image.Image]:
    """The frames of a clip."""
    return [open_image(file) for file in frame_files(folder)]
