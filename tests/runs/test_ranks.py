"""Several processes do one run: together the same as one, and never one without the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.runs.builders import Bench, do, forget_devices, predictions
from tests.traps import set_traps
from vlbench import worker
from vlbench.errors import MissingError, RunFailed
from vlbench.runs import callbacks, ranks
from vlbench.runs.folder import RunFolder
from vlbench.runs.ranks import Others, joined
from vlbench.runs.spec import RunSpec
from vlbench.training.train import Step

LOSSES, WEIGHTS = 2e-6, 1e-5
"""How far two ranks may be from one process: measured are 5e-7, of losses of about 5, and 2e-7."""


class Failing(Others):
    """Another rank that fails a moment after the others began."""

    def __init__(self, error: Exception, seconds: float) -> None:
        self.rendezvous, self.count, self.failure = Path("nowhere"), 2, None
        self._is_over = threading.Event()
        self.error, self.at = error, time.monotonic() + seconds

    def _has_failed(self) -> bool:
        time.sleep(0.02)
        self.failure = self.error if time.monotonic() >= self.at else None
        return self.failure is not None


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_rank_that_dies_interrupts_the_main_one_and_explains_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    monkeypatch.setattr(ranks, "REASON_SECONDS", 30)
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 10 if is_lost else 0.1)
    others, started = Failing(RunFailed("process 2 of 2"), 0.2), time.monotonic()
    with pytest.raises(RunFailed, match="process 2 of 2") as failure, others.watched():
        if is_lost:
            raise RuntimeError("Connection closed by peer")
        time.sleep(30)
    assert time.monotonic() - started < 25
    assert isinstance(failure.value.__cause__, RuntimeError) == is_lost


@pytest.mark.slow
def test_a_rank_that_dies_before_they_meet_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"(?s)process 2 of 2 failed: .*not a run's spec"):
        joined(tmp_path, 2, "cpu").__enter__()


def test_a_run_on_more_gpus_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="8 processes need 8 GPUs, found"):
        joined(tmp_path, 8, "cuda").__enter__()


def odd_spec(bench: Bench, *more: str) -> RunSpec:
    """Batches of 69 and 59 examples, of 23 and 1; no dropout."""
    settings = ("train.batch_size=69", "train.learning_rate=0.005", "train.dropout=0", *more)
    return bench.spec(settings=("train.epochs=3", *settings))


def losses(folder: RunFolder) -> list[float]:
    lines = [json.loads(line) for line in folder.curve.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def assert_same(one: RunFolder, other: RunFolder) -> None:
    from safetensors.torch import load_file

    assert losses(one) == pytest.approx(losses(other), abs=LOSSES, rel=0)
    assert predictions(one) == predictions(other)
    expected = load_file(other.adapter)
    for name, tensor in load_file(one.adapter).items():
        assert (tensor - expected[name]).abs().max() <= WEIGHTS


@pytest.mark.slow
def test_two_processes_give_what_one_does_and_import_nothing_of_the_current_folder(
    bench: Bench, tmp_path: Path
) -> None:
    spec = odd_spec(bench)
    two = RunFolder.of(tmp_path / "two", spec)
    two.create(spec)
    told = set_traps(tmp_path)
    command = [sys.executable, "-P", "-m", "vlbench.worker", str(two.path), "--processes", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        one = do(spec, tmp_path / "one")
        _, text = process.communicate()
    assert process.returncode == 0, text
    assert not told.exists(), told.read_text()
    assert two.state == "done"
    assert_same(two, one)
    assert len(losses(two)) == 2
    assert len({row["prediction"] for row in predictions(two)["vqav2"]}) > 1


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point of the training curve, and a checkpoint, after each step."""
    monkeypatch.setattr(callbacks, "CURVE_STEPS", 1)
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", "0")


def together(spec: RunSpec, results: Path, code: int = 0) -> RunFolder:
    """The run in two processes, of which this is one."""
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GLOO_SOCKET_IFNAME"):
            patch.setenv(name, "lo")  # to be what it was afterwards
        forget_devices()
        assert worker.main([str(folder.path), "--processes", "2"]) == code
    forget_devices()
    return folder


def interrupted(patch: pytest.MonkeyPatch, step: int, act: Callable[[], RunFolder]) -> RunFolder:
    """What `act` leaves when it ends after this step."""
    on_step = callbacks.Callbacks.on_step

    def stop_there(self: callbacks.Callbacks, seen: Step) -> None:
        on_step(self, seen)
        if seen.number == step:
            raise KeyboardInterrupt

    with patch.context() as inside:
        inside.setattr(callbacks.Callbacks, "on_step", stop_there)
        return act()


@pytest.mark.slow
def test_two_processes_that_go_on_end_bit_for_bit_where_two_do_that_nothing_disturbs(
    bench: Bench, tmp_path: Path, every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = odd_spec(bench, "train.dropout=0.1")
    whole = together(spec, tmp_path / "whole")
    folder = interrupted(monkeypatch, 6, partial(together, spec, tmp_path, 130))
    together(spec, tmp_path)
    assert folder.attempts() == 2
    assert len(losses(folder)) == 12
    assert losses(folder) == losses(whole)
    assert predictions(folder) == predictions(whole)
    assert folder.adapter.read_bytes() == whole.adapter.read_bytes()


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(
    bench: Bench, tmp_path: Path, every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = odd_spec(bench)
    whole = do(spec, tmp_path / "whole")
    shrunk = interrupted(monkeypatch, 6, partial(together, spec, tmp_path / "shrunk", 130))
    do(spec, tmp_path / "shrunk")
    grown = interrupted(monkeypatch, 6, partial(do, spec, tmp_path / "grown", 130))
    together(spec, tmp_path / "grown")
    for folder in (shrunk, grown):
        assert folder.attempts() == 2
        assert_same(folder, whole)


Training = tuple[RunFolder, int, int]


@pytest.fixture
def training(bench: Bench, tmp_path: Path) -> Iterator[Training]:
    """A run in two processes that trains for long: its folder and the process ids."""
    spec = odd_spec(bench, "train.epochs=2000")
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    command = [sys.executable, "-m", "vlbench.worker", str(folder.path), "--processes", "2"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: folder.status().get("step", 0) > 0)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            *_, other = map(int, children.split())  # after multiprocessing's own helper
            yield folder, process.pid, other
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or only waits to be asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_a_killed_rank_fails_the_run_at_once_and_by_its_name(training: Training) -> None:
    folder, _, other = training
    os.kill(other, signal.SIGKILL)
    wait_for(lambda: folder.state == "failed", 15)
    error = folder.status()["error"]
    assert "process 2 of 2 failed" in error and "signal SIGKILL" in error


@pytest.mark.slow
def test_a_killed_worker_leaves_no_rank_behind(training: Training) -> None:
    _, main, other = training
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: has_ended(other), 10)


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_leaves_a_checkpoint_and_no_rank(training: Training) -> None:
    folder, main, other = training
    os.killpg(main, signal.SIGINT)
    wait_for(lambda: folder.state == "cancelled", 15)
    wait_for(lambda: has_ended(main) and has_ended(other), 15)
    assert folder.checkpoints.files()
