"""The folders that runs write to: room, permission, and locks."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from vlbench.doctor.finding import Finding
from vlbench.files import cache_place
from vlbench.running.lock import DEAD_SECONDS, NO_LOCKS

FREE_BYTES = 2_000_000_000
GIGABYTE = 1e9


def cache() -> Finding:
    """What can be made again."""
    folder, source = cache_place()
    size = sum(_size(Path(place) / name) for place, _, names in os.walk(folder) for name in names)
    details = f"{size / GIGABYTE:.1f} GB in it" if folder.is_dir() else "not made yet"
    return _place("cache", folder, f"{details}, {source}", "VLBENCH_CACHE names another place")


def results_folder(folder: Path) -> Finding:
    """Where results are kept."""
    count = sum(1 for _ in folder.glob("runs/*/spec.json"))
    details = f"{count} run{'s' * (count != 1)}" if folder.is_dir() else "not made yet"
    return _place("results", folder.absolute(), details, "--results names another folder")


def locks(folder: Path) -> Finding:
    """Whether two processes can lock each other out of a run there."""
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(folder), prefix=".lock-") as first:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(first.name, "rb") as second:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Finding("locks", True, "work in the results folder", is_needed=False)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            remedy = f"could not be tried in the results folder: {error.strerror}"
            return Finding("locks", False, "", remedy, is_needed=False)
    remedy = (
        "none in the results folder: heartbeats claim its runs, and a run whose worker died is "
        f"taken over after {DEAD_SECONDS:.0f} s; --results on another file system is quicker"
    )
    return Finding("locks", False, "", remedy, is_needed=False)


def _place(what: str, folder: Path, details: str, otherwise: str) -> Finding:
    """A folder that must be writable and have room, whether it is made already or not."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            free = shutil.disk_usage(_existing(folder)).free
    except OSError as error:
        return Finding(what, False, "", f"{folder}: cannot write: {error.strerror}; {otherwise}")
    text = f"{folder}, {details}, {free / GIGABYTE:.1f} GB free"
    remedy = f"{folder} has {free / GIGABYTE:.1f} GB free, which is too little: {otherwise}"
    return Finding(what, free > FREE_BYTES, text, "" if free > FREE_BYTES else remedy)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that there is."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:  # gone meanwhile
        return 0
