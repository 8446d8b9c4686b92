"""What runs on a GPU: `pytest -m gpu` wants one, no network, and minutes.

Where torch sees no GPU these tests are skipped, and their line says that they were not run. With
VLBENCH_TEST_DEVICE=cpu what they do is done on the CPU, so that a machine without a GPU tries the
tests themselves; those that need a GPU's memory are skipped then, too.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

import pytest
import torch

from tests.runs.builders import forget_devices


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where these tests compute."""
    named = torch.device(os.environ.get("VLBENCH_TEST_DEVICE", "cuda"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a driver that torch does not like
        if named.type == "cuda" and not torch.cuda.is_available():
            pytest.skip(f"not run: torch {torch.__version__} sees no GPU here")
    return named


@pytest.fixture(autouse=True)
def _gpus(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """accelerate chooses its device once in a process, here once a test; the CPU can stand in."""
    if device.type == "cpu":
        monkeypatch.setenv("VLBENCH_FAKE_GPUS", "1")
    forget_devices()
    yield
    forget_devices()
