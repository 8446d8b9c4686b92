"""Files that appear complete or not at all: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Write `path` so that readers see the old file or the whole new one, never a part.

    A callable gets the temporary path to write to; its name ends in `.tmp`, so it must not tell the
    format by the suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary_beside(path)
    try:
        if isinstance(content, str):
            beside.write_text(content, encoding="utf-8", newline="\n")
        elif isinstance(content, bytes):
            beside.write_bytes(content)
        else:
            content(beside)
        flush(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    flush(path.parent)


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder that no other process takes, ending in `.tmp`."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def flush(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
