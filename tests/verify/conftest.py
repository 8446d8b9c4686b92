"""A run that is done, and what verifies copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.builders import Bench
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.verify.verify import Verified, Verifier

Verify = Callable[[Path], Verified]


@pytest.fixture(scope="session")
def _verifier() -> Verifier:
    return Verifier()


@pytest.fixture
def run(bench: Bench, finished: tuple[RunSpec, RunFolder], tmp_path: Path) -> Path:
    """The folder of a run that is done, to be changed."""
    path = finished[1].path
    return Path(shutil.copytree(path, tmp_path / "results" / "runs" / path.name))


@pytest.fixture
def verify(bench: Bench, _verifier: Verifier) -> Verify:
    """Verifies a folder; data and model are those of the run that is done."""
    return _verifier.verify


@pytest.fixture
def own_cards(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cards, which are looked for there."""
    for kind in ("methods", "tasks", "backbones"):
        shutil.copytree(project / kind, tmp_path / kind)
    monkeypatch.setattr("vlbench.cards.load.card_folder", lambda kind: tmp_path / kind)
    return tmp_path
