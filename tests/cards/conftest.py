"""Write a card and a module beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A function that writes a file into an empty current folder and gives its path as typed."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str, path: str = "methods/mine.toml") -> str:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
        return path

    return write_file
