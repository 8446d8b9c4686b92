"""The pictures themselves in place of their features, for backbones that read pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vlbench.data.table import file_hash


@dataclass(frozen=True, slots=True)
class Pictures:
    """The files of the pictures that a task's examples name."""

    paths: Mapping[str, Path]
    """Image id -> file."""

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over ids and contents: the same on every machine."""
        lines = (f"{image} {file_hash(self.paths[image])}\n" for image in sorted(set(ids)))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
