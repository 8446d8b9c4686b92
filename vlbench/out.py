"""What a user asks for, written to the place the user names: `--out FILE`."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlbench.errors import MissingError, UsageError, VlbenchError
from vlbench.files import Content, remove_dead_beside, write_atomically

FULL = (errno.ENOSPC, errno.EDQUOT)
DESCRIPTORS = re.compile("/proc/[^/]+/fd")
"""Folders that hold open files under their numbers."""


def write_out(path: Path, content: Content, option: str = "--out") -> None:
    """Write the file that an option names, whole or not at all; of a link, its target.

    A pipe or a device gets what is written, and is never replaced.
    """
    with writing(path, option):
        if is_stream(path):
            _pour(path, content)
        else:
            target = Path(os.path.realpath(path))
            remove_dead_beside(target)
            write_atomically(target, content)


def check_out(path: Path, option: str = "--out") -> None:
    """Before anything is read: refuse a place where no file can be written."""
    with writing(path, option):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder is there")
        place = path if is_stream(path) else _nearest_folder(path)
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, f"no permission to write to {place}")


@contextmanager
def writing(path: Path, option: str = "--out") -> Iterator[None]:
    """Tell what the system refuses in one sentence: where, why and what to type."""
    try:
        yield
    except OSError as error:
        raise _refused(path, option, error) from None


def is_stream(path: Path) -> bool:
    """Whether what is written goes on to somebody: a pipe, a device, a descriptor."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _is_descriptor(path)


def _is_descriptor(path: Path) -> bool:
    """Whether it is an open file by its number, as /dev/stdout is: its beginning may be others'."""
    while path.is_symlink():
        if DESCRIPTORS.fullmatch(os.path.realpath(path.parent)):
            return True
        path = path.parent / os.readlink(path)
    return False


def _pour(path: Path, content: Content) -> None:
    """Write on from where the stream is."""
    with tempfile.TemporaryDirectory() as folder:
        whole = write_atomically(Path(folder) / path.name, content, is_flushed=False)
        with path.open("ab") as stream:
            stream.write(whole.read_bytes())


def _nearest_folder(path: Path) -> Path:
    """The folder to write in, or the one that is there of those it lies in."""
    parents = Path(os.path.realpath(path)).parents
    return next(folder for folder in parents if os.path.lexists(folder))


def _refused(path: Path, option: str, error: OSError) -> VlbenchError:
    file = next((folder for folder in path.parents if os.path.isfile(folder)), None)
    why = f"{file} is a file, no folder" if file else error.strerror or str(error)
    told = f"{option} {path}: Cannot be written: {why}."
    if error.errno in FULL:
        return MissingError(f"{told} Make room, or name a place on another disk: {option} PATH")
    return UsageError(f"{told} Name another place: {option} PATH")
