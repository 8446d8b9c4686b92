"""Fingerprints of data files: same contents under same names, same hash anywhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from vlbench.errors import MissingError
from vlbench.files import cache_folder, write_atomically, writing_cache

REMEMBERED_FROM = 1 << 22
"""Hashes of files from this size in bytes are remembered in the cache by path, size and time."""


def fingerprint(files: Iterable[Path], root: Path | None = None) -> str:
    """sha256 over names and contents; names are relative to `root`, else to what they share."""
    paths = sorted({Path(os.path.abspath(file)) for file in files})
    if not paths:
        return hashlib.sha256().hexdigest()
    base = root.absolute() if root else Path(os.path.commonpath([path.parent for path in paths]))
    lines = [f"{file_hash(path)}  {os.path.relpath(path, base)}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 over a file's contents, from the cache where it was computed before."""
    try:
        status = path.stat()
        if status.st_size < REMEMBERED_FROM:
            return _hash(path)
        key = f"{path.absolute()}\n{status.st_size}\n{status.st_mtime_ns}"
        note = cache_folder() / "hashes" / hashlib.sha256(key.encode()).hexdigest()
        if note.is_file():
            return note.read_text(encoding="ascii")
        value = _hash(path)
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file") from None
    with writing_cache():
        write_atomically(note, value)
    return value


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
