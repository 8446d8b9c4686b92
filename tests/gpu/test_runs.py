"""Whole runs on a GPU: by the command line, in turn, killed and resumed, beside the CPU's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.runs.builders import Bench, do, forget_devices, predictions
from tests.test_worker import wait_for_step
from vlbench.runs.execute import Run
from vlbench.runs.folder import RunFolder
from vlbench.runs.launch import WorkerProcess
from vlbench.runs.watch import Progress
from vlbench.techniques.adapt import load_trained_state

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # what a driver or a card is warned of is not ours
]


def assert_is_on(device: torch.device, folder: RunFolder) -> None:
    """The result says which device, and how much of its memory was held."""
    for row in pq.read_table(folder.result).to_pylist():
        if device.type == "cuda":
            assert row["device"] == f"cuda: {torch.cuda.get_device_name(0)}"
            whole = torch.cuda.get_device_properties(0).total_memory
            assert 0 < row["peak_memory_bytes"] < whole
        else:
            assert row["device"].startswith("cpu: ") and row["peak_memory_bytes"] > 0


def command(bench: Bench, results: Path, *words: str) -> list[str]:
    """Of a smoke run of the mini backbone on the first GPU."""
    return [
        *(sys.executable, "-m", "vlbench", "run", "--method", "shared-adapter", "--tasks", "nlvr2"),
        *("--root", str(bench.root), "--limit", "8", "--set", "train.epochs=1"),
        *("--devices", "0", "--results", str(results), *words),
    ]


def test_a_command_does_its_runs_on_a_gpu_one_after_the_other(
    bench: Bench, device: torch.device, tmp_path: Path
) -> None:
    words = command(bench, tmp_path, "--seeds", "0,1")
    two = subprocess.run([*words, "--jobs", "2"], capture_output=True, text=True, timeout=120)
    assert two.returncode == 2
    assert "--jobs 2 is for the CPU; on GPUs there is a run on each" in two.stderr
    done = subprocess.run(words, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    folders = [RunFolder(path) for path in sorted(tmp_path.glob("runs/*"))]
    assert len(folders) == 2
    times = []
    for folder in folders:
        assert_is_on(device, folder)
        began, ended = map(json.loads, folder.attempts_file.read_text().splitlines())
        assert (began["event"], ended["event"]) == ("began", "done")
        times.append((began["at"], ended["at"]))
    (_, first_ended), (second_began, _) = sorted(times)
    assert first_ended <= second_began


SETTINGS = ("train.epochs=4", "train.batch_size=15", "train.dropout=0.1")


def curve(folder: RunFolder) -> list[dict[str, object]]:
    """The training curve's points, without validations."""
    lines = map(json.loads, folder.curve.read_text().splitlines())
    return [line for line in lines if "loss" in line]


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    bench: Bench, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not bit by bit, as on the CPU: kernels of a GPU may add in another order each time."""
    spec = bench.spec(settings=SETTINGS, device=device.type)
    whole = do(spec, tmp_path / "undisturbed")
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", "0")
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    worker = WorkerProcess(folder, "GPU 0", os.environ)
    wait_for_step(folder, 3)
    worker.kill()
    assert not folder.is_done
    do(spec, tmp_path)
    assert "going on from the checkpoint after step" in folder.log.read_text()
    assert folder.attempts() == 2
    assert_is_on(device, folder)
    for found, expected in zip(curve(folder), curve(whole), strict=True):
        assert found == expected | {"loss": pytest.approx(expected["loss"], rel=1e-2)}
    answered, undisturbed = predictions(folder), predictions(whole)
    for task, expected_rows in undisturbed.items():
        pairs = zip(answered[task], expected_rows, strict=True)
        other = [a["id"] for a, b in pairs if a["prediction"] != b["prediction"]]
        assert len(other) <= 0.1 * len(expected_rows), other


@pytest.mark.parametrize("method", ["shared-adapter", "hyperformer", "lst", "peft-adalora"])
def test_what_one_device_trained_the_other_answers_alike(
    bench: Bench, device: torch.device, tmp_path: Path, method: str
) -> None:
    """Beginning with LST's pruning: it reads gradients, and AdaLoRA keeps a state of its own."""
    cpu = bench.spec(method=method, settings=("train.epochs=2", "train.batch_size=30"))
    for trained_on, scored_on in (("cpu", device.type), (device.type, "cpu")):
        spec = cpu.model_copy(update={"device": trained_on})
        forget_devices()
        folder = do(spec, tmp_path / trained_on)
        if trained_on == device.type:
            assert_is_on(device, folder)
        forget_devices()
        again = Run(cpu.model_copy(update={"device": scored_on}), folder, 1, Progress(None))
        again.prepare()
        assert again.accelerator.device.type == scored_on
        load_trained_state(again.model, load_file(folder.adapter), "")
        for task in again.tasks:
            given = {row["id"]: row["prediction"] for row in predictions(folder)[task.card.name]}
            assert again.answers(task, task.test) == given
