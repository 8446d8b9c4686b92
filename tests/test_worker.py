"""The worker: one run, once, whatever happens to it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.running.builders import Bench, do, rows
from vlbench import worker
from vlbench.running.execute import Run
from vlbench.running.folder import RunFolder


def test_it_wants_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert worker.main([]) == 2
    assert "usage: python -m vlbench.worker RUN_DIR" in capsys.readouterr().err


def test_a_folder_without_a_spec_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worker.main([str(tmp_path)]) == 3
    assert f"{tmp_path / 'spec.json'}: not a run's spec" in capsys.readouterr().err


def test_a_spec_edited_by_hand_is_refused(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.of(tmp_path, bench.spec())
    folder.create(bench.spec())
    table = json.loads(folder.spec_file.read_text())
    table["method"]["train"]["learning_rate"] = 1.0
    folder.spec_file.write_text(json.dumps(table))
    assert worker.main([str(folder.path)]) == 3
    assert "spec.json: the spec was changed" in capsys.readouterr().err
    assert not folder.attempts_file.exists()


def test_a_done_run_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    folder = do(bench.spec(limit=2), tmp_path)
    before = folder.result.stat().st_mtime_ns
    do(bench.spec(limit=2), tmp_path)
    assert folder.result.stat().st_mtime_ns == before
    assert folder.attempts() == 1


def test_two_workers_started_together_train_once(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = bench.spec(limit=8)
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(worker.main, [[str(folder.path)]] * 2)) == [0, 0]
    assert folder.attempts() == 1
    assert "another process does this run: waiting" in capsys.readouterr().err


def test_a_bug_ends_in_5_with_its_traceback_in_status_and_log(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "_prepare", lambda self: 1 / 0)
    folder = do(bench.spec(), tmp_path, code=5)
    assert folder.status()["error"].endswith("ZeroDivisionError: division by zero\n")
    assert "Traceback" in folder.log.read_text()
    lines = [json.loads(line) for line in folder.attempts_file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["began", "failed"]


def test_a_full_disk_is_no_bug(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Run) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "result.parquet")

    monkeypatch.setattr(Run, "_prepare", fail)
    folder = do(bench.spec(), tmp_path, code=1)
    assert folder.status()["error"] == "result.parquet: No space left on device"


def test_a_killed_worker_leaves_no_result_and_the_next_one_finishes(
    bench: Bench, tmp_path: Path
) -> None:
    spec = bench.spec(settings=("train.epochs=12", "train.batch_size=30"))
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    command = [sys.executable, "-m", "vlbench.worker", str(folder.path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not folder.checkpoint.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not folder.is_done
    assert not folder.adapter.exists()
    assert folder.state == "stopped"
    do(spec, tmp_path)
    assert folder.attempts() == 2
    assert rows(folder) == rows(do(spec, tmp_path / "undisturbed"))
