"""A run that is done, and what verifies copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.builders import Bench, do
from vlbench.verify.verify import Verified, Verifier

Verify = Callable[[Path], Verified]


@pytest.fixture(scope="session")
def _done(_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLBENCH_CACHE", str(_bench.root.parent / "cache"))
        return do(_bench.spec(), tmp_path_factory.mktemp("done")).path


@pytest.fixture(scope="session")
def _verifier() -> Verifier:
    return Verifier()


@pytest.fixture
def run(bench: Bench, _done: Path, tmp_path: Path) -> Path:
    """The folder of a run that is done, to be changed."""
    return Path(shutil.copytree(_done, tmp_path / "results" / "runs" / _done.name))


@pytest.fixture
def verify(bench: Bench, _verifier: Verifier) -> Verify:
    """Verifies a folder; data and model are those of the run that is done."""
    return _verifier.verify
