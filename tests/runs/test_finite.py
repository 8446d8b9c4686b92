"""A run is a success only if it is one: what fails it before anything is tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.runs.builders import Bench, do
from vlbench.backbones.weights import load_backbone, save_backbone
from vlbench.data.batches import Batch, TaskData
from vlbench.metrics import Scored
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.techniques.lora import Update

ONE_STEP = ("train.epochs=1", "train.batch_size=1000", "train.warmup_ratio=0")


def failed(spec: RunSpec, results: Path, code: int = 1) -> str:
    """The error of a run that fails and leaves nothing that reads as a result."""
    folder = do(spec, results, code)
    assert folder.state == "failed"
    assert not folder.answers.exists() and not folder.adapter.exists() and not folder.is_done
    return str(folder.status()["error"])


def test_weights_that_overflow_in_the_only_step_fail_with_step_and_tensor(
    bench: Bench, tmp_path: Path
) -> None:
    spec = bench.spec(
        "shared-lora", tasks="vqav2", settings=(*ONE_STEP, "train.learning_rate=1e38")
    )
    assert "Not finite after step 1: tensor 'backbone.visual" in failed(spec, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_to_start_from_that_are_not_finite_are_named(
    bench: Bench, finished: tuple[RunSpec, RunFolder], tmp_path: Path, value: float
) -> None:
    tensors = load_file(finished[1].adapter)
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[0] = value
    file = tmp_path / "init.safetensors"
    save_file(tensors, file)
    error = failed(bench.spec(init=file), tmp_path, code=3)
    assert error.startswith(f"{file}: tensor '{name}' holds NaN or infinity")


def test_a_backbone_that_is_not_finite_is_named(bench: Bench, tmp_path: Path) -> None:
    backbone = load_backbone(bench.backbone)
    with torch.no_grad():
        backbone.language.model.decoder.layers[0].fc1.weight[3, 4] = float("nan")
    for file in bench.backbone.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_backbone(backbone, tmp_path)
    error = failed(bench.spec(backbone_path=tmp_path), tmp_path / "results", code=3)
    assert error.startswith(f"{tmp_path}: tensor 'backbone.language.model.decoder.layers.0.fc1")


def test_test_features_that_are_not_finite_fail_the_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = bench.spec(tasks="vqav2", settings=(*ONE_STEP, "train.learning_rate=1e-3"))
    whole = TaskData.batch

    def batch(self: TaskData, examples: Any, answers: Any) -> Batch:
        made = whole(self, examples, answers)
        if answers is None:  # validation and test
            made.features[0, 0, 0, 0] = float("nan")
        return made

    monkeypatch.setattr(TaskData, "batch", batch)
    folder = do(spec, tmp_path, code=3)
    assert "vqav2: the features of " in folder.status()["error"]
    assert not folder.is_done


def test_a_technique_whose_hook_swaps_its_arguments_fails_before_it_trains(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = bench.spec("shared-lora", tasks="vqav2")
    forward = Update.forward
    monkeypatch.setattr(Update, "forward", lambda self, x, y: forward(self, y, x))
    error = failed(spec, tmp_path, code=2)
    assert "LoRA says starts_as_identity" in error


def test_a_metric_that_gives_no_number_fails_the_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = bench.spec(tasks="vqav2", settings=(*ONE_STEP, "train.learning_rate=1e-3"))

    def metric(annotations: Any, predictions: Any) -> Scored:
        return Scored({"accuracy": float("nan")}, dict.fromkeys(predictions, 0.0))

    monkeypatch.setattr("vlbench.runs.result.load_metric", lambda *_: metric)
    folder = do(spec, tmp_path, code=2)
    assert "metric: 'vqa' gives nan for accuracy" in folder.status()["error"]
    assert not folder.is_done
