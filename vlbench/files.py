"""Files that appear complete or not at all: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Content = str | bytes | Callable[[Path], object]
"""What a file is to hold; a callable writes it to the path it is given."""


def write_atomically(path: Path, content: Content, is_flushed: bool = True) -> Path:
    """Write `path` so that readers see the old file or the whole new one, never a part.

    A callable gets the temporary path to write to; its name ends in `.tmp`, so it must not tell the
    format by the suffix. A path that it returns is the final one, for names that tell the content.
    What is only for looking at need not be flushed to the disk. Returns the final path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary_beside(path)
    try:
        if isinstance(content, str):
            beside.write_text(content, encoding="utf-8", newline="\n")
        elif isinstance(content, bytes):
            beside.write_bytes(content)
        else:
            named = content(beside)
            path = named if isinstance(named, Path) else path
        if is_flushed:
            flush(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if is_flushed:
        flush(path.parent)
    return path


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add one line to a JSON Lines file; one that was torn before it is closed first."""
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        is_torn = False
        if end:
            file.seek(end - 1)
            is_torn = file.read(1) != b"\n"
        text = json.dumps(line) + "\n"
        file.write((("\n" if is_torn else "") + text).encode())


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder that no other process takes, ending in `.tmp`."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def remove_leftovers(folder: Path) -> None:
    """Take away what killed writers left below a folder in which nobody writes now."""
    for file in folder.rglob(".*.tmp"):
        file.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
