"""One finished run that several tests look at."""

from __future__ import annotations

import pytest

from tests.runs.builders import Bench, do
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec


@pytest.fixture(scope="session")
def finished(_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, RunFolder]:
    """A run that nothing disturbed; for reading only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLBENCH_CACHE", str(_bench.root.parent / "cache"))
        spec = _bench.spec()
        return spec, do(spec, tmp_path_factory.mktemp("finished"))
