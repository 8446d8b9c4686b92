from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden(shared_folder: Path) -> Callable[[str], Any]:
    """Reads a file of the official scorers' inputs and outputs: JSON, or JSON Lines as a list."""

    def read(name: str) -> Any:
        text = (shared_folder / "golden" / name).read_text(encoding="utf-8")
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text)

    return read


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of these tests' own, the same for all of them."""
    folder = tmp_path_factory.getbasetemp() / "cache-of-metrics"
    monkeypatch.setenv("VLBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def needs_java() -> None:
    from vlbench.errors import MissingError
    from vlbench.metrics.java import require_java

    try:
        require_java()
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, object], Path]:
    """Writes text, or anything else as JSON, into a new file."""

    def make(name: str, content: object) -> Path:
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    return make
