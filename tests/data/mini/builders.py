"""Small editions, and how to compare folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

TINY = {
    "coco": {"train": 16, "val": 3, "test": 3},
    "gqa": {"train": 8, "val": 2, "test": 2},
    "nlvr2": {"train": 3, "val": 2, "test": 2},
}
TINY_VIDEO = {
    "tv": {"train": 6, "val": 2, "test": 2},
    "how2": {"train": 4, "val": 2, "test": 2},
    "yc2": {"train": 4, "val": 2, "test": 2},
}


def digests(folder: Path) -> dict[str, str]:
    """File -> sha256 of its contents."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
