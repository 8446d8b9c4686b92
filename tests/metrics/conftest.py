from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden(shared_folder: Path) -> Callable[[str], Any]:
    """Reads a JSON file of the official scorers' inputs and outputs."""

    def read(name: str) -> Any:
        return json.loads((shared_folder / "golden" / name).read_text(encoding="utf-8"))

    return read


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, object], Path]:
    """Writes text, or anything else as JSON, into a new file."""

    def make(name: str, content: object) -> Path:
        path = tmp_path / name
        path.write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
        return path

    return make
