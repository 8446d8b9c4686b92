"""Open pictures and clips, and find them by their ids.

Any format comes in, RGB goes out; broken files are refused, never patched up. A clip is a folder of
pictures, in the order of their names, in which numbers count as numbers.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from vlbench.data.example import Faults
from vlbench.data.hashes import file_hash, remembered, stamp
from vlbench.data.readers.base import Reader
from vlbench.data.table import ExampleTable
from vlbench.errors import DataError, MissingError

PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""In any case; other files are no pictures, and neither are hidden ones."""
BROKEN = (OSError, SyntaxError, TypeError, ValueError, EOFError, Image.DecompressionBombError)
"""What PIL raises for files that are truncated, damaged, no pictures, or absurdly large."""


def open_image(path: Path) -> Image.Image:
    """The whole picture as RGB, pixels as stored: alpha is dropped and EXIF turns are not applied.

    16-bit grey is scaled to 8 bits. A truncated picture is an error, however lenient PIL is.
    """
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        data = path.read_bytes()
        # PIL warns of large pictures and odd metadata.
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(data)) as image:
            image.load()
            if image.format == "PNG" and b"IEND" not in data:  # PIL does not miss the last chunk
                raise OSError("image file is truncated")
            if image.mode.startswith("I;16"):  # PIL would clip all but the darkest to white
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            if image.mode in ("P", "PA", "LA"):  # transparent colours need a step between
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")
    except BROKEN as error:
        # the text of an UnidentifiedImageError names our buffer
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: not a readable picture: {reason}") from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def open_clip(folder: Path) -> list[Image.Image]:
    """The frames of a clip in the order of time."""
    return [open_image(file) for file in clip_files(folder)]


def clip_files(folder: Path) -> list[Path]:
    """The files of a clip's frames in the order of time."""
    files = _pictures_in(folder) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder}: no folder of frames: {' or '.join(PICTURE_SUFFIXES)}")
    return files


def find_pictures(reader: Reader, examples: ExampleTable) -> tuple[dict[str, Path], Faults]:
    """Image id -> file of the pictures or clips of the examples, and faults of the missing ones."""
    faults, paths, missing = Faults(), dict[str, Path](), dict[str, MissingError]()
    for image in examples.images():  # no example is decoded for it
        try:
            paths[image] = reader.image_path(image)
        except MissingError as error:
            missing[image] = error
    for example in examples if missing else ():
        for image in example.images:
            if image in missing:
                origin = reader.origin(image) or f"example {example.id}"
                faults.texts.append(f"{missing.pop(image)} (wanted by {origin})")
    return paths, faults


def shared_pictures(reader: Reader, splits: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Pictures in two splits by path or content, `a.png = b.png (train, test)`, by the last split.

    Clips, and pictures whose files are not at hand, are compared by path. What was worked out for
    the same files before comes from the cache.
    """
    splits_of: dict[str, list[str]] = {}
    for split, images in splits.items():
        for image in images:
            splits_of.setdefault(image, []).append(split)
    by_size: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for image in splits_of:
        with suppress(MissingError):
            path = reader.image_path(image)
            if path.is_file():
                by_size[path.stat().st_size].append((image, path))
    alike = dict(chain.from_iterable(group for group in by_size.values() if len(group) > 1))
    stamps = (f"{image} {stamp(path)}" for image, path in alike.items())
    hashes = remembered(
        "contents of pictures",
        stamps,
        lambda: json.dumps({image: file_hash(path) for image, path in alike.items()}),
    )
    contents = {image: image for image in splits_of} | json.loads(hashes)
    names: dict[str, list[str]] = defaultdict(list)
    for image, content in contents.items():
        names[content].append(image)
    shared: dict[str, list[str]] = defaultdict(list)
    for images in names.values():
        within = {split for image in images for split in splits_of[image]}
        if len(within) > 1:
            ordered = [split for split in splits if split in within]
            shared[ordered[-1]].append(f"{' = '.join(images)} ({', '.join(ordered)})")
    return shared


def pictures_below(folder: Path, by_path: bool = False) -> dict[str, Path]:
    """File name without suffix, or path below the folder -> file; DataError where two share it."""
    return _by_id(folder, ((path.stem, path) for path in picture_files(folder)), by_path)


def clips_below(folder: Path, by_path: bool = False) -> dict[str, Path]:
    """Name, or path below the folder -> folder, of those that hold pictures themselves."""
    return _by_id(folder, ((path.name, path) for path in clip_folders(folder)), by_path)


def picture_files(folder: Path) -> list[Path]:
    """The pictures below a folder."""
    return [file for path in _folders(folder) for file in _pictures_in(path)]


def clip_folders(folder: Path) -> list[Path]:
    """The folder and those below it that hold pictures themselves."""
    return [path for path in _folders(folder) if _pictures_in(path)]


def _pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder itself, by name: `2.png` before `10.png`."""

    def natural_order(file: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", file.name)
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]

    files = (file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
    return sorted((file for file in files if file.name[0] != "."), key=natural_order)


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and those below it; links to folders are followed, hidden ones are left out."""
    for path, names, _ in os.walk(folder, followlinks=True):
        names[:] = sorted(name for name in names if name[0] != ".")
        yield Path(path)


def _by_id(folder: Path, named: Iterable[tuple[str, Path]], by_path: bool) -> dict[str, Path]:
    by_id: dict[str, Path] = {}
    for name, path in named:
        image = str(path.relative_to(folder)) if by_path else name
        if by_id.setdefault(image, path) != path:
            raise DataError(
                f"{path} and {by_id[image]}: both would be '{image}' in the store. With --by-path "
                "the ids are paths, as your own data have them."
            )
    if not by_id:
        known = ", ".join(PICTURE_SUFFIXES)
        raise MissingError(f"--images {folder}: no pictures below it; they end in {known}.")
    return by_id
