"""One pair of trained runs for all tests of commands that read results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.runs.builders import Bench, do


@pytest.fixture(scope="session")
def _trained(_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLBENCH_CACHE", str(_bench.root.parent / "cache"))
        for method in ("shared-adapter", "frozen"):
            do(_bench.spec(method, limit=4), results)
    return results


@pytest.fixture
def trained(bench: Bench, _trained: Path, tmp_path: Path) -> Path:
    """A results folder with runs of shared-adapter and frozen that are done, to be changed."""
    return Path(shutil.copytree(_trained, tmp_path / "trained"))


@pytest.fixture
def adapter(trained: Path) -> Path:
    """The folder of the run of shared-adapter, now the only one."""
    for run in trained.glob("runs/*"):
        if '"frozen"' in (run / "spec.json").read_text():
            shutil.rmtree(run)
    (run,) = trained.glob("runs/*")
    return run
