from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from faults.judging import differences, partial_files
from faults.scene import INSIDE
from vlbench.runs.sums import write_sums


def write_run(results: Path, key: str = "a1") -> Path:
    """A run that is done."""
    run = results / "runs" / key
    (run / "predictions").mkdir(parents=True)
    save_file({"a": np.ones(100, np.float32)}, run / "adapter.safetensors")
    pq.write_table(pa.table({"id": ["1", "2"]}), run / "predictions" / "vqav2.parquet")
    rows = {"metric": ["vqav2.accuracy"], "value": [50.0], "train_seconds": [1.5]}
    pq.write_table(pa.table(rows), run / "result.parquet")
    (run / "metrics.jsonl").write_text('{"step": 10, "loss": 1.0}\n')
    (run / "status.json").write_text('{"status": "done"}')
    note(run, "began")
    note(run, "done")
    write_sums(run)
    return run


def note(run: Path, event: str, attempt: int = 1, pid: int = 7) -> None:
    with (run / "attempts.jsonl").open("a") as file:
        file.write(json.dumps({"attempt": attempt, "event": event, "pid": pid}) + "\n")


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    write_run(tmp_path / "truth")
    return tmp_path / "truth"


@pytest.fixture
def found(truth: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(truth, tmp_path / "found"))


def test_equal_results_have_no_differences(truth: Path, found: Path) -> None:
    rows = {"metric": ["vqav2.accuracy"], "value": [50.0], "train_seconds": [99.0]}
    pq.write_table(pa.table(rows), found / "runs/a1/result.parquet")
    assert differences(truth, found) == ["run a1: result.parquet: not as SHA256SUMS says"]
    write_sums(found / "runs/a1")
    assert differences(truth, found) == []
    assert partial_files(found) == []


@pytest.mark.parametrize(
    ("name", "spoil", "text"),
    [
        ("metrics.jsonl", lambda file: file.write_text('{"step": 10, "loss": 1.1}\n'), "differs"),
        ("adapter.safetensors", Path.unlink, "differs"),
        ("predictions/vqav2.parquet", Path.unlink, "differs"),
        ("result.parquet", Path.unlink, "is missing"),
        (
            "result.parquet",
            lambda file: pq.write_table(pa.table({"metric": ["m"], "value": [50.1]}), file),
            "differs",
        ),
        ("status.json", lambda file: file.write_text('{"status": "running"}'), "instead of done"),
        ("attempts.jsonl", lambda file: note(file.parent, "done", 2), "2 events `done`"),
        ("attempts.jsonl", lambda file: note(file.parent, "stopped"), "ended twice"),
        ("checkpoint", Path.mkdir, "left behind"),
        (".result.parquet.7-ab.tmp", Path.touch, "left behind"),
    ],
)
def test_what_differs_is_found(truth: Path, found: Path, name: str, spoil, text: str) -> None:
    spoil(found / "runs/a1" / name)
    (fault,) = differences(truth, found)
    assert text in fault and name in fault


def disturbed(orders: Path, code: str) -> subprocess.CompletedProcess[str]:
    for name in ("given", "done"):
        (orders / name).mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(INSIDE), "FAULTS_ORDERS": str(orders)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("order", "left"),
    [("before,a.*", "old"), ("half,a.txt", "old"), ("after,a.txt", "new"), ("before,b.*", "new")],
)
def test_an_order_ends_a_process_at_its_rename(tmp_path: Path, order: str, left: str) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / order).touch()
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.tmp").write_text("new")
    code = f"import os; os.replace({str(tmp_path / 'a.tmp')!r}, {str(tmp_path / 'a.txt')!r})"
    is_met = order != "before,b.*"
    assert disturbed(tmp_path, code).returncode == (-signal.SIGKILL if is_met else 0)
    assert (tmp_path / "a.txt").read_text() == left
    assert (tmp_path / "done" / order).exists() == is_met
    if order.startswith("half"):
        assert (tmp_path / "a.tmp").read_text() == "n"
