from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlbench.errors import MissingError, RunFailed
from vlbench.metrics import references, spice
from vlbench.metrics.java import LOCALE

REFERENCES = {"1": ["A dog."], "2": ["a cat"]}
CANDIDATES = {"2": "a mat", "1": "the dog"}
RESULT = [
    {"image_id": image, "scores": {"All": {"f": value}}} for image, value in [("2", 0), ("1", 1)]
]


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Java that answers with a file, and models that are there; its own words are noted."""
    monkeypatch.setattr(spice, "tokenize", list)
    monkeypatch.setattr(references, "tokenize", list)
    monkeypatch.setattr(references, "_recent", {})
    folder = tmp_path / "spice"
    (folder / "lib").mkdir(parents=True)
    for name in spice.MODELS:
        (folder / "lib" / name).write_text("")
    monkeypatch.setattr(spice, "FOLDER", folder)
    program = tmp_path / "java"
    program.write_text(
        f'#!/bin/sh\nshift {len(LOCALE)}\necho "$JDK_JAVA_OPTIONS" > {tmp_path}/options\n'
        f'cp "$4" {tmp_path}/given\n'
        f'while [ "$1" != -out ]; do shift; done\ncp {tmp_path}/result "$2" || exit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr("vlbench.metrics.java.require_java", lambda: str(program))
    return tmp_path


def test_the_jar_gets_tokens_and_its_scores_are_told_by_image(java: Path) -> None:
    (java / "result").write_text(json.dumps(RESULT))
    assert spice.score(REFERENCES, CANDIDATES) == {"1": 1, "2": 0}
    given = json.loads((java / "given").read_text())
    assert given[0] == {"image_id": "1", "test": "the dog", "refs": ["A dog."]}
    assert (java / "options").read_text().strip() == spice.OPEN


def test_a_java_that_fails_is_told(java: Path) -> None:
    with pytest.raises(RunFailed, match=r"SPICE's Java ended with 1: .*result"):
        spice.score(REFERENCES, CANDIDATES)


def test_an_image_without_a_score_is_named(java: Path) -> None:
    without = [*RESULT[:1], {"image_id": "1", "scores": {"All": {"f": None}}}]
    (java / "result").write_text(json.dumps(without))
    with pytest.raises(RunFailed, match="no score for image 1"):
        spice.score(REFERENCES, CANDIDATES)


def test_without_its_models_nothing_is_downloaded(java: Path) -> None:
    (spice.FOLDER / "lib" / spice.MODELS[1]).unlink()
    with pytest.raises(MissingError, match=r"not available: .*-3\.6\.0-models\.jar"):
        spice.score(REFERENCES, CANDIDATES)
