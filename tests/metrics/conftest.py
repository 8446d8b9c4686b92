from __future__ import annotations

import json
import random
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


@pytest.fixture(scope="session")
def tokens() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """References and candidates as pycocoevalcap takes them: few words, empty and equal ones."""
    draw = random.Random(0)

    def text() -> str:
        words = draw.choices(["a", "dog", "cat", "on", "the", "red\xa0mat", "runs"], k=12)
        return " ".join(words[: draw.choice([0, 1, 2, 3, 5, 8, 12])])

    images = [str(number) for number in range(200)]
    gold = {image: [text() for _ in range(draw.randint(1, 6))] for image in images}
    return gold, {image: [draw.choice([text(), gold[image][0]])] for image in images}


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
