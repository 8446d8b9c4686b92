"""Hashes of what files hold, remembered in the cache while a file's size and time stay the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from vlbench.errors import MissingError
from vlbench.files import cache_folder, write_atomically, writing_cache

REMEMBERED_FROM = 1 << 22
"""Hashes of single files from this size in bytes are remembered in the cache."""


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
        if path.stat().st_size < REMEMBERED_FROM:
            return _hash(path)
        return remembered("contents", [stamp(path)], partial(_hash, path))
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file") from None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: Path) -> str:
    """Path, size and time of a file: while they stay, its contents are taken to stay."""
    status = path.stat()
    return f"{path.absolute()}\n{status.st_size}\n{status.st_mtime_ns}"


def remembered(what: str, files: Iterable[str], work_out: Callable[[], str]) -> str:
    """What `work_out` returns, from the cache where it did for files of the same stamps before."""
    digest = hashlib.sha256("\n".join([what, *files]).encode()).hexdigest()
    note = cache_folder() / "hashes" / digest
    if note.is_file():
        return note.read_text(encoding="utf-8")
    value = work_out()
    with writing_cache():
        write_atomically(note, value)
    return value
