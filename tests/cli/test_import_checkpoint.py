"""`vlbench import-checkpoint`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import Result

from tests.checkpoints.theirs import mini_model, their_state
from tests.cli.command import assert_refused, vlbench
from tests.runs.builders import Bench
from vlbench.checkpoints.weights import METADATA
from vlbench.data.hashes import file_hash
from vlbench.tensors import unique_state

TASKS = ("vqav2", "nlvr2")


def run(bench: Bench, *words: str) -> Result:
    fixed = ["--backbone", "mini-bart", "--backbone-path", str(bench.backbone)]
    return vlbench("import-checkpoint", *words, *fixed, "--tasks", "vqav2,nlvr2")


@pytest.fixture
def source(bench: Bench, tmp_path: Path) -> Path:
    state = their_state(mini_model("shared-adapter", bench.backbone, TASKS), TASKS)
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "LAST.pth")
    return tmp_path / "LAST.pth"


def test_every_tensor_arrives_under_our_name(
    bench: Bench, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    result = run(bench, "LAST.pth", "--method", "shared-adapter")
    assert result.exit_code == 0, result.output
    file = source.parent / "LAST.shared-adapter.safetensors"
    ours = unique_state(mini_model("shared-adapter", bench.backbone, TASKS))
    arrived = load_file(file)
    assert arrived.keys() == ours.keys()
    assert all(torch.equal(arrived[name], ours[name]) for name in ours)
    numbers = sum(tensor.numel() for tensor in ours.values())
    assert f"{len(ours):,} tensors, {numbers:,} numbers" in result.stderr
    with safe_open(file, framework="pt") as opened:
        said = json.loads(opened.metadata()[METADATA])
    assert said["schema"] == "vlbench.weights/1"
    assert (said["method"]["name"], said["backbone"]) == ("shared-adapter", "mini-bart")
    assert (said["suite"], said["source_sha256"]) == ("vqav2+nlvr2", file_hash(source))


def test_wrong_words_are_told(bench: Bench, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent)
    Path("mine.safetensors").touch()
    for words, code, text in [
        ("nowhere.pth --method shared-adapter", 3, "nowhere.pth: no such file"),
        ("LAST.pth --method shard-adapter", 2, "Did you mean 'shared-adapter'?"),
        ("LAST.pth --method full --out x.pth", 2, "should be another file"),
        ("mine.safetensors --method full --out mine.safetensors", 2, "should be another file"),
    ]:
        assert_refused(run(bench, *words.split()), code, text)
