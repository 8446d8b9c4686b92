"""The worker: one run, once, whatever happens to it."""

from __future__ import annotations

import errno
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runs.builders import Bench, do, rows
from vlbench import worker
from vlbench.runs.callbacks import Callbacks
from vlbench.runs.execute import Run
from vlbench.runs.folder import RunFolder
from vlbench.runs.launchers.process import WorkerProcess
from vlbench.training.train import Step


def test_it_wants_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        worker.main([])
    assert ended.value.code == 2
    assert "usage: python -m vlbench.worker" in capsys.readouterr().err


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


def test_two_workers_started_together_train_once(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec(limit=8)
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(worker.main, [[str(folder.path)]] * 2)) == [0, 0]
    assert folder.attempts() == 1


def test_a_worker_started_by_hand_waits_for_the_one_that_has_the_run(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = bench.spec(limit=2)
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    with ThreadPoolExecutor() as pool:
        with folder.lock.acquire():
            waiting = pool.submit(worker.main, [str(folder.path)])
            deadline, said = time.monotonic() + 60, ""
            while "another process does this run: waiting" not in said:
                assert time.monotonic() < deadline
                time.sleep(0.01)
                said += capsys.readouterr().err
            assert folder.attempts() == 0
        assert waiting.result(60) == 0


def test_a_bug_ends_in_5_with_its_traceback_in_status_and_log(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "prepare", lambda self: 1 / 0)
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

    monkeypatch.setattr(Run, "prepare", fail)
    folder = do(bench.spec(), tmp_path, code=3)
    assert folder.status()["error"].startswith("result.parquet: No space left on device. Make room")


@pytest.mark.slow
def test_a_worker_that_is_preempted_and_killed_ends_as_if_it_had_not_been(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", "0")
    spec = bench.spec(settings=("train.epochs=12", "train.batch_size=30"))
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    first = WorkerProcess.start(folder, "slurm 12_3", os.environ)
    wait_for_step(folder, 3)
    assert folder.state == "running"
    assert folder.lock.holder()["where"] == "slurm 12_3"
    first.stop("preempted")
    assert first.wait(30) == 130
    assert folder.state == "preempted"
    assert "preempted: its place was needed" in folder.log.read_text()
    (newest, *_) = folder.checkpoints.files()
    step = int(newest.name[5:14])
    second = WorkerProcess.start(folder, "cpu", os.environ)
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


def wait_for_step(folder: RunFolder, step: int) -> None:
    """Until a checkpoint is that far."""
    deadline = time.monotonic() + 60
    while not any(int(file.name[5:14]) >= step for file in folder.checkpoints.files()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_that_another_process_does_is_left_to_it_when_launched(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = bench.spec(limit=2)
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    monkeypatch.setattr("vlbench.runs.stopping.Stop.listen", lambda self, pipe: None)
    with (tmp_path / "empty").open("w") as empty, folder.lock.acquire():
        monkeypatch.setattr("sys.stdin", empty)
        assert worker.main([str(folder.path), "--launched", "cpu"]) == worker.HELD
    assert folder.attempts() == 0


@pytest.mark.parametrize(
    "error",
    [MemoryError("no more"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you")],
    ids=["Python", "torch"],
)
def test_out_of_memory_is_a_status_of_its_own(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(self: Run) -> None:
        raise error

    monkeypatch.setattr(Run, "prepare", fail)
    folder = do(bench.spec(), tmp_path, code=1)
    assert folder.state == "out-of-memory"
    assert "--max-batch auto" in folder.status()["error"]


def test_what_a_stop_breaks_is_a_stop_and_no_bug(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Run) -> None:
        with self.stop.deferred():
            self.stop.ask("preempted")
        raise RecursionError("an import that was broken off")

    monkeypatch.setattr(Run, "prepare", fail)
    folder = do(bench.spec(), tmp_path, code=130)
    assert folder.state == "preempted"


def test_a_run_that_was_cancelled_does_not_begin(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec()
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    folder.ask_cancel()
    assert worker.main([str(folder.path)]) == 130
    assert folder.state == "cancelled"
    folder.forget_cancel()
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


def test_a_cache_without_room_is_told_with_the_variable_that_names_another(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = bench.spec()
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))

    def fail(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vlbench.data.table.write_examples", fail)
    folder = do(spec, tmp_path, code=3)
    said = folder.status()["error"]
    assert f"{tmp_path / 'cache'}: No space left on device" in said
    assert "VLBENCH_CACHE names another place" in said
