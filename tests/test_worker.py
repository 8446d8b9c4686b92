"""The worker: one run, once, whatever happens to it."""

from __future__ import annotations

import errno
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.runs.builders import Bench, do, rows
from vlbench import worker
from vlbench.cli.app import app
from vlbench.runs.callbacks import Callbacks
from vlbench.runs.execute import Run
from vlbench.runs.folder import RunFolder
from vlbench.runs.launch import WorkerProcess
from vlbench.runs.spec import RunSpec
from vlbench.training.train import Step


def new_folder(spec: RunSpec, results: Path) -> RunFolder:
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    return folder


def test_what_is_no_run_is_refused(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        worker.main([])
    assert ended.value.code == 2
    assert "usage: python -m vlbench.worker" in capsys.readouterr().err
    assert worker.main([str(tmp_path)]) == 3
    assert f"{tmp_path / 'spec.json'}: not a run's spec" in capsys.readouterr().err
    folder = new_folder(bench.spec(), tmp_path)
    table = json.loads(folder.spec_file.read_text())
    table["method"]["train"]["learning_rate"] = 1.0
    folder.spec_file.write_text(json.dumps(table))
    assert worker.main([str(folder.path)]) == 3
    assert "spec.json: the spec was changed" in capsys.readouterr().err
    assert not folder.attempts_file.exists()


def test_workers_started_together_train_once_and_leave_a_done_run_alone(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = new_folder(bench.spec(limit=2), tmp_path)
    with ThreadPoolExecutor() as pool:
        with folder.lock.acquire():
            waiting = [pool.submit(worker.main, [str(folder.path)]) for _ in range(2)]
            deadline, said = time.monotonic() + 60, ""
            while said.count("another process does this run: waiting") < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
                said += capsys.readouterr().err
            assert folder.attempts() == 0
        assert [each.result(60) for each in waiting] == [0, 0]
    before = folder.result.stat().st_mtime_ns
    do(bench.spec(limit=2), tmp_path)
    assert folder.result.stat().st_mtime_ns == before
    assert folder.attempts() == 1


FULL = OSError(errno.ENOSPC, "No space left on device", "result.parquet")


@pytest.mark.parametrize(
    ("error", "code", "state", "text"),
    [
        (ZeroDivisionError("a bug"), 5, "failed", "ZeroDivisionError: a bug\n"),
        (FULL, 3, "failed", "result.parquet: No space left on device. Make room"),
        (MemoryError("no more"), 1, "out-of-memory", "--max-batch auto"),
        (RuntimeError("can't allocate memory: you"), 1, "out-of-memory", "--max-batch auto"),
    ],
)
def test_what_ends_an_attempt_stands_in_status_log_and_record(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
    state: str,
    text: str,
) -> None:
    def fail(self: Run) -> None:
        raise error

    monkeypatch.setattr(Run, "prepare", fail)
    folder = do(bench.spec(), tmp_path, code=code)
    assert folder.state == state
    assert text in folder.status()["error"]
    assert ("Traceback" in folder.log.read_text()) == (code == 5)
    lines = [json.loads(line) for line in folder.attempts_file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["began", state]


def test_what_a_stop_breaks_is_a_stop_and_no_bug(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Run) -> None:
        with self.stop.deferred():
            self.stop.ask("preempted")
        raise RecursionError("an import that was broken off")

    monkeypatch.setattr(Run, "prepare", fail)
    assert do(bench.spec(), tmp_path, code=130).state == "preempted"


def test_a_run_that_another_process_does_is_left_to_it_when_launched(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_folder(bench.spec(limit=2), tmp_path)
    monkeypatch.setattr("vlbench.runs.stopping.Stop.listen", lambda self, pipe: None)
    with (tmp_path / "empty").open("w") as empty, folder.lock.acquire():
        monkeypatch.setattr("sys.stdin", empty)
        assert worker.main([str(folder.path), "--launched", "cpu"]) == worker.HELD
    assert folder.attempts() == 0


def test_a_run_that_was_cancelled_does_not_begin(bench: Bench, tmp_path: Path) -> None:
    folder = new_folder(bench.spec(), tmp_path)
    folder.cancel_file.touch()
    assert worker.main([str(folder.path)]) == 130
    folder.cancel_file.unlink(missing_ok=True)
    assert folder.state == "cancelled"


@pytest.mark.parametrize("is_over", [False, True], ids=["at work", "done"])
def test_a_worker_that_wakes_up_after_its_run_was_taken_over_leaves_it_as_it_is(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    before: dict[str, bytes] = {}
    on_step = Callbacks.on_step

    def sleep(self: Callbacks, step: Step) -> None:
        if step.number == 2 and not before:
            folder = self.run.folder
            folder.lock.holder_file.write_text('{"machine": "other", "token": "theirs"}')
            if is_over:
                folder.lock.holder_file.unlink()
                folder.result.write_text("theirs")
                folder.status_file.write_text('{"status": "done"}')
            before.update(contents(folder.path))
        on_step(self, step)

    monkeypatch.setattr(Callbacks, "on_step", sleep)
    folder = do(bench.spec(), tmp_path, code=worker.HELD)
    assert before and contents(folder.path) == before


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


QUITTER = """
import sys
from vlbench.techniques.selective import BitFit

class Quitter(BitFit):
    def {where}:
        sys.exit(0)
"""


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize("command", ["", "plan", "run", "params"])
def test_outside_code_that_ends_its_process_is_named(
    bench: Bench, tmp_path: Path, command: str
) -> None:
    """The run fails; a command exits with 2."""
    card, file = tmp_path / "mine.toml", tmp_path / "quitter.py"
    card.write_text('title = "Mine"\ntechnique = "quitter:Quitter"\n')
    where = "attach(self, backbone)" if command else "stepped(self, number, total)"
    file.write_text(QUITTER.format(where=where))
    text = f"{file}, line 7: SystemExit(0) was raised there"
    if not command:
        folder = do(bench.spec(str(card)), tmp_path / "results", code=1)
        assert folder.state == "failed"
        assert folder.status()["error"].startswith(text)
        assert text in folder.log.read_text()
        return
    more = [] if command == "params" else bench.words()[5:]
    words = [command, "--method", str(card), "--tasks", "vqav2,nlvr2", *more]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"vlbench: {text}" in result.stderr


@pytest.mark.slow
def test_a_worker_that_is_preempted_and_killed_ends_as_if_it_had_not_been(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", "0")
    spec = bench.spec(settings=("train.epochs=12", "train.batch_size=30"))
    folder = new_folder(spec, tmp_path)
    first = WorkerProcess(folder, "slurm 12_3", os.environ)
    wait_for_step(folder, 3)
    assert folder.state == "running"
    assert folder.lock.holder()["where"] == "slurm 12_3"
    first.stop("preempted")
    first.process.wait(30)
    assert first.poll() == 130
    assert folder.state == "preempted"
    assert "preempted: its place was needed" in folder.log.read_text()
    (newest, *_) = folder.checkpoints.files()
    step = int(newest.name[5:14])
    second = WorkerProcess(None, "cpu", os.environ)
    assert second.take(folder)
    wait_for_step(folder, step + 2)
    assert f"going on from the checkpoint after step {step} of" in folder.log.read_text()
    second.kill()
    assert not folder.is_done
    assert not folder.adapter.exists()
    assert folder.state == "stopped"
    do(spec, tmp_path)
    assert folder.attempts() == 3
    assert rows(folder) == rows(do(spec, tmp_path / "undisturbed"))
    assert not list(folder.path.rglob(".*.tmp"))


@pytest.mark.slow
def test_a_worker_without_a_folder_ends_with_its_launcher(bench: Bench, tmp_path: Path) -> None:
    worker = WorkerProcess(None, "cpu", os.environ)
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait(60) == 0
    assert not worker.take(new_folder(bench.spec(), tmp_path))


def wait_for_step(folder: RunFolder, step: int) -> None:
    """Until a checkpoint is that far."""
    deadline = time.monotonic() + 60
    while not any(int(file.name[5:14]) >= step for file in folder.checkpoints.files()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
