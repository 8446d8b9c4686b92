"""Files of the mini edition: pictures as PNG, records as JSON or JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlbench.data.mini.world import COVERED_IN_TASKS, Scene, draw

Record = dict[str, Any]


def write_json(path: Path, content: Any) -> None:
    """Write one object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_lines(path: Path, records: Iterable[Record]) -> None:
    """Write a record a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def save_picture(scene: Scene, path: Path) -> None:
    """Draw the scene into a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(scene, COVERED_IN_TASKS).save(path, compress_level=1)
