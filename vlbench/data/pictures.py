"""The pictures themselves in place of their features, for backbones that read pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vlbench.data.hashes import file_hash, remembered, stamp
from vlbench.data.images import clip_files, open_image


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """What a chat model reads: pictures, and of a clip some frames."""

    frames: int
    """Most frames read of a clip."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The files of the pictures or clips that a task's examples name."""

    paths: Mapping[str, Path]
    """Image id -> file, or folder of a clip's frames."""
    frames: int
    """Most frames read of a clip."""

    def open(self, image: str) -> list[Image.Image]:
        """A picture, alone in a list, or a clip's frames in the order of time."""
        return [open_image(file) for file in self.files(image)]

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over ids and contents of what is read: the same on every machine.

        From the cache where it was computed for the same files before.
        """
        files = [(image, file) for image in sorted(set(ids)) for file in self.files(image)]

        def over_contents() -> str:
            lines = (f"{image} {file_hash(file)}\n" for image, file in files)
            return hashlib.sha256("".join(lines).encode()).hexdigest()

        stamps = (f"{image} {stamp(file)}" for image, file in files)
        return remembered("fingerprint of pictures", stamps, over_contents)

    def files(self, image: str) -> list[Path]:
        """A picture's file, or a clip's frames.

        Of a long clip those in the middle of as many equal parts.
        """
        path = self.paths[image]
        if not path.is_dir():
            return [path]
        files = clip_files(path)
        count = min(self.frames, len(files))
        return [files[(2 * i + 1) * len(files) // (2 * count)] for i in range(count)]
