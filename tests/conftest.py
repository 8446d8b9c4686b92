"""What several tests need."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.runs.builders import Bench
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.spec import RunSpec

PROJECT = Path(__file__).resolve().parents[1]
os.environ |= {"XDG_CONFIG_HOME": os.devnull, "VLBENCH_CONFIG": os.devnull}  # not the developer's
if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core: threads would wait for cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.set_threshold(100_000, 20, 50)  # a tenth of the tests' time went into looking for garbage


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Processes that share a GPU hold half a gigabyte of it each: no more than four of them."""
    return min(4, os.cpu_count() or 1) if config.option.markexpr == "gpu" else None


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The reference material beside the checkout; tests that need it are skipped without it."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no reference material beside the checkout")
    return folder


@pytest.fixture(scope="session")
def _bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    from tests.runs.builders import make_bench

    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def bench(_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A tiny edition and a random backbone to run on, with a cache of their own."""
    monkeypatch.setenv("VLBENCH_CACHE", str(_bench.root.parent / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return _bench


@pytest.fixture(scope="session")
def finished(_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, RunFolder]:
    """A run that nothing disturbed; for reading only."""
    from tests.runs.builders import do

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLBENCH_CACHE", str(_bench.root.parent / "cache"))
        spec = _bench.spec()
        return spec, do(spec, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def _forgotten(tmp_path: Path) -> Iterator[None]:
    """What a test imports from its folder is imported anew by others that name theirs alike."""
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


SIGNALS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGQUIT: signal.SIG_DFL,
}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Signals work in every test: a worker that ends in a process ignores them from there on.

    So would the processes that later tests start, and a pool of them would never end. A command in
    the background of a shell is started with some of them ignored, too.
    """
    for each, handler in SIGNALS.items():
        signal.signal(each, handler)
    yield
    for each, handler in SIGNALS.items():
        signal.signal(each, handler)
