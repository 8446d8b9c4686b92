"""Where the mini edition lies: in the cache, made in seconds on first use, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from vlbench.backbones import VISUALS, Visual
from vlbench.data.mini.sheet import contact_sheet, video_sheet
from vlbench.data.mini.write import VERSION, VIDEO_VERSION, Progress, write_mini, write_video
from vlbench.errors import UsageError
from vlbench.files import cache_folder, remove_dead_beside, temporary_beside, writing_cache

SEED = 0
NAMES = {
    "image": f"mini-v{VERSION}-seed{SEED}",
    "video": f"mini-video-v{VIDEO_VERSION}-seed{SEED}",
}
"""Folders in the cache: clips are made when they are first needed, and not with the pictures."""


def mini_root(visual: Visual = "image", progress: Progress = lambda _: None) -> Path:
    """The embedded edition's root folder, made now if this is its first use."""
    root = cache_folder() / NAMES[visual]
    if not root.is_dir():
        with writing_cache():
            if root.exists():
                raise NotADirectoryError(errno.ENOTDIR, "a file is there", str(root))
            make_mini(root, SEED, progress, (visual,))
    return root


def make_mini(
    folder: Path,
    seed: int,
    progress: Progress = lambda _: None,
    visuals: Sequence[Visual] = VISUALS,
) -> None:
    """Write the edition with its contact sheets to `folder`, which must be new or empty.

    It is written beside and renamed, so that a reader never sees half of it; of two processes
    that make it at once the first one wins.
    """
    folder = folder.absolute()
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already and not empty: name a new folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}") from None
    remove_dead_beside(folder)
    beside = temporary_beside(folder)
    beside.mkdir()
    try:
        if "image" in visuals:
            write_mini(beside, seed, progress=progress)
            contact_sheet(beside).save(beside / "contact_sheet.png")
        if "video" in visuals:
            write_video(beside, seed, progress=progress)
            video_sheet(beside).save(beside / "video_sheet.png")
        try:
            beside.replace(folder)
        except OSError:  # another process made it meanwhile
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
