"""Checkpoints: the newest whole one counts."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch

from vlbench.runs.checkpoints import Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "checkpoint")
    for step in (1, 20, 300):
        checkpoints.save(step, {"step": step, "weights": torch.full((64,), float(step))})
    return checkpoints


def newest(checkpoints: Checkpoints) -> tuple[int | None, list[str]]:
    lines: list[str] = []
    state = checkpoints.newest(lines.append)
    return (state[0]["step"] if state else None), lines


def test_the_newest_counts_and_two_are_kept(checkpoints: Checkpoints) -> None:
    assert [file.name[:14] for file in checkpoints.files()] == ["step-000000300", "step-000000020"]
    assert newest(checkpoints) == (300, [])


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps(print)])
def test_one_that_torch_refuses_is_set_aside_and_the_one_before_counts(
    checkpoints: Checkpoints, content: bytes
) -> None:
    digits = hashlib.sha256(content).hexdigest()[:16]
    file = checkpoints.folder / f"step-000000400-{digits}.pt"
    file.write_bytes(content)
    step, lines = newest(checkpoints)
    assert step == 300
    assert len(lines) == 1 and str(file) in lines[0] and "damaged or not of this run" in lines[0]
    assert not file.exists()
    assert file.with_name(f"{file.name}.refused").read_bytes() == content
    assert newest(checkpoints) == (300, [])
