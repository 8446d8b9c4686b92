"""What a job does, with workers that take no time to start."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.runs.launchers.slurm_commands import FakeSlurm, fake_slurm
from tests.runs.launchers.toys import make, toy_specs, use_toys
from vlbench.errors import MissingError
from vlbench.runs.folder import RunFolder
from vlbench.runs.launchers import slurm_job
from vlbench.runs.launchers.slurm_job import (
    RunJob,
    cancel_job,
    job_name,
    look,
    threads,
    write_job,
)

WAIT = "stop_at = time.monotonic() + 20\nwhile time.monotonic() < stop_at: time.sleep(0.05)"
"""A worker that goes on until it is told to stop."""


@dataclass
class Pretended:
    """A worker in this process whose job gets a signal at once; then it ends as it is to."""

    folder: RunFolder
    code: int = 130
    status: str = "preempted"
    """Its attempt's; empty: no attempt had begun."""
    kept: str = ""
    """A checkpoint that it writes."""
    number: signal.Signals = signal.SIGUSR2
    reason: str = ""
    is_signalled: bool = False

    def start(self, *_: object) -> Pretended:
        self.reason, self.is_signalled = "", False
        return self

    def poll(self) -> int | None:
        if not self.is_signalled:
            self.is_signalled = True
            os.kill(os.getpid(), self.number)
            return None
        assert self.reason == ("preempted" if self.number == signal.SIGUSR2 else "")
        if self.status:
            attempt = self.folder.attempts() + 1
            self.folder.note_attempt(attempt, "began")
            self.folder.write_status(self.status, attempt)
        if self.kept:
            self.folder.checkpoints.folder.mkdir()
            (self.folder.checkpoints.folder / self.kept).touch()
        if self.code == 0:
            self.folder.result.touch()
        return self.code

    def stop(self, reason: str) -> None:
        self.reason = reason


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """We are task 1 of job 7."""
    use_toys(monkeypatch)
    for name, value in (("JOB_ID", "8"), ("ARRAY_JOB_ID", "7"), ("ARRAY_TASK_ID", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR2)}
    yield fake_slurm(tmp_path, monkeypatch)
    for each, handler in before.items():
        signal.signal(each, handler)


def queued(tmp_path: Path, program: str, idle: int = 0) -> RunFolder:
    folder = make(tmp_path / "results", toy_specs(1)[0], program)
    write_job(folder, "7_1", 0, idle)
    return folder


def pretended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: int = 0, **how: Any
) -> RunFolder:
    """The same, whose worker is none."""
    folder = queued(tmp_path, "", idle)
    monkeypatch.setattr(slurm_job, "WorkerProcess", Pretended(folder, **how))
    monkeypatch.setattr(slurm_job, "POLL_SECONDS", 0.0)
    return folder


def signalled(folder: RunFolder, number: int) -> None:
    """Send a signal to worker and job, as Slurm does, once the worker is at work."""

    def send() -> None:
        deadline = time.monotonic() + 20
        while folder.status().get("status") != "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(folder.lock.holder()["pid"], number)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def fails(folder: RunFolder, minutes: int | None = None) -> int:
    with pytest.raises(SystemExit) as caught:
        RunJob(folder.path, minutes=minutes)()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_job_does_its_run_and_says_where(cluster: FakeSlurm, tmp_path: Path) -> None:
    folder = queued(tmp_path, "assert not [name for name in os.environ if name[:6] == 'SLURM_']")
    assert RunJob(folder.path)() == 0
    assert folder.state == "done"
    assert '"where": "slurm 7_1"' in folder.attempts_file.read_text()


def test_a_failed_run_is_a_failed_job_that_is_not_requeued(
    cluster: FakeSlurm, tmp_path: Path
) -> None:
    end = "folder.write_status('failed', 1, error='no', exit_code=3); sys.exit(3)"
    folder = queued(tmp_path, end)
    assert fails(folder) == 3
    assert folder.state == "failed"
    assert not cluster.asked("scontrol")


def test_a_warned_job_saves_and_is_requeued(cluster: FakeSlurm, tmp_path: Path) -> None:
    folder = queued(tmp_path, WAIT)
    signalled(folder, signal.SIGUSR2)  # the worker would die of it
    assert fails(folder) == 130
    events = [json.loads(line)["event"] for line in folder.attempts_file.read_text().splitlines()]
    assert events == ["began", "preempted"]
    assert cluster.asked("scontrol") == ["requeue 7_1"]
    assert folder.state == "queued"
    assert folder.job()["attempts"] == 1
    assert "requeued: Slurm job 7_1 goes on from the last checkpoint" in folder.log.read_text()


def test_a_requeue_that_is_refused_is_in_the_log(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pretended(tmp_path, monkeypatch)
    cluster.refuse("scontrol", "Requested operation is presently disabled")
    fails(folder)
    assert folder.state == "preempted"
    assert "refuses: Requested operation is presently disabled" in folder.log.read_text()


def test_a_job_that_slurm_ends_itself_is_not_requeued_a_second_time(
    cluster: FakeSlurm, tmp_path: Path
) -> None:
    folder = queued(tmp_path, WAIT)
    signalled(folder, signal.SIGTERM)
    fails(folder)
    assert folder.state != "queued"
    assert not cluster.asked("scontrol")


def test_a_run_that_is_done_in_spite_of_the_warning_is_not_requeued(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pretended(tmp_path, monkeypatch, code=0)
    assert RunJob(folder.path)() == 0
    assert not cluster.asked("scontrol")


def test_a_run_that_is_cancelled_as_it_is_warned_is_not_requeued(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pretended(tmp_path, monkeypatch, status="cancelled")
    fails(folder)
    assert folder.state == "cancelled"
    assert not cluster.asked("scontrol")


def test_a_job_that_is_ended_before_its_worker_began_says_nothing_of_the_run(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pretended(tmp_path, monkeypatch, status="", number=signal.SIGTERM)
    fails(folder)
    assert folder.state == "queued"  # Slurm starts it again, or whoever follows it finds it gone


def test_time_limits_that_lead_nowhere_come_to_an_end(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_job, "IDLE_MINUTES", 0.0)
    folder = pretended(tmp_path, monkeypatch)
    for idle in (1, 2):
        fails(folder)
        assert (folder.state, folder.job()["idle"]) == ("queued", idle)
    fails(folder)
    assert folder.state == "timeout"
    assert "needs a longer time limit (time_minutes" in folder.status()["error"]
    assert cluster.asked("scontrol") == ["requeue 7_1"] * 2


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_checkpoint_or_too_little_time_is_no_reason_to_give_up(
    cluster: FakeSlurm, tmp_path: Path, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_kept:
        monkeypatch.setattr(slurm_job, "IDLE_MINUTES", 0.0)
    name = f"step-{5:09d}-{'0' * 16}.pt" if is_kept else ""
    folder = pretended(tmp_path, monkeypatch, idle=2, kept=name)
    fails(folder)
    assert (folder.state, folder.job()["idle"]) == ("queued", 0 if is_kept else 2)


def test_a_worker_that_cannot_begin_is_no_longer_queued(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = queued(tmp_path, "")
    monkeypatch.setattr("tests.runs.launchers.toys.PROGRAM", "import sys; sys.exit(5)")
    assert fails(folder) == 5
    assert folder.state == "failed"
    assert "ended with 5 and left no result" in folder.status()["error"]


def test_a_run_that_another_process_has_is_left_alone(cluster: FakeSlurm, tmp_path: Path) -> None:
    folder = queued(tmp_path, "")
    with folder.lock.acquire("GPU 0"):
        assert RunJob(folder.path)() == 75
    assert not folder.attempts_file.exists()


def test_a_job_s_name_is_what_slurm_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    assert job_name() == "8"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job_name() == "7_3"


def test_threads_are_those_that_slurm_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    assert (threads(1), threads(2), threads(9)) == (6, 3, 1)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert threads(1) == 4


def test_a_worker_that_ends_with_0_and_no_result_has_failed(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = queued(tmp_path, "")
    monkeypatch.setattr("tests.runs.launchers.toys.PROGRAM", "")
    assert fails(folder) == 1
    assert folder.state == "failed"
    assert "ended with 0 and left no result" in folder.status()["error"]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return fake_slurm(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that waits for its job."""
    (spec,) = toy_specs(1)
    folder = RunFolder.of(tmp_path / "results", spec)
    folder.create(spec)
    folder.job_file.write_text(json.dumps({"launcher": "slurm", "job": "7_1", "attempts": 0}))
    assert folder.state == "queued"
    return folder


def test_squeue_is_asked_once_for_all_arrays(queue: FakeSlurm) -> None:
    queue.answer("squeue", "7_0|PENDING|Resources\n7_1|RUNNING|None\n9|PENDING|BadConstraints")
    found = look(["7_1", "9", "8_0"])
    assert {job: each.state for job, each in found.items()} == {"7_1": "RUNNING", "9": "PENDING"}
    assert found["9"].hindrance.startswith("BadConstraints: no node has what it asks for")
    assert not found["7_1"].hindrance
    (words,) = queue.asked("squeue")
    assert "--jobs=7,8,9" in words
    assert "--array" in words
    assert not look([])


def test_a_reason_with_details_is_still_known(queue: FakeSlurm) -> None:
    queue.answer("squeue", "9|PENDING|ReqNodeNotAvail, UnavailableNodes:n1")
    assert "the node it needs is not available" in look(["9"])["9"].hindrance


def test_an_unknown_job_is_gone_and_a_silent_controller_is_an_error(queue: FakeSlurm) -> None:
    queue.refuse("squeue", "slurm_load_jobs error: Invalid job id specified")
    assert look(["7_1"]) == {}
    queue.refuse("squeue", "Unable to contact slurm controller (connect failure)")
    with pytest.raises(MissingError, match="squeue: Unable to contact"):
        look(["7_1"])


def test_a_user_s_own_squeue_settings_change_nothing(
    queue: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQUEUE_STATES=all would list jobs that are over."""
    program = queue.home / "commands" / "squeue"
    text = program.read_text().replace("print(answer", 'print(os.environ.get("SQUEUE_STATES"))#')
    program.write_text(text)
    monkeypatch.setenv("SQUEUE_STATES", "9|COMPLETED|None")
    assert look(["9"]) == {}


def test_cancelling_a_queued_run_takes_its_job_away(queue: FakeSlurm, folder: RunFolder) -> None:
    cancel_job(folder)
    assert queue.asked("scancel") == ["--state=PENDING 7_1"]
    assert folder.state == "cancelled"
    assert folder.status()["error"] == "cancelled before it began"
    assert folder.attempts() == 0


def test_cancelling_a_running_one_leaves_it_to_its_worker(
    queue: FakeSlurm, folder: RunFolder
) -> None:
    queue.answer("squeue", "7_1|RUNNING|None")
    cancel_job(folder)
    assert folder.state == "queued"  # until the worker begins, and sees the file
    assert folder.job()["job"] == "7_1"


def test_cancelling_what_has_no_job_asks_nothing(queue: FakeSlurm, folder: RunFolder) -> None:
    folder.job_file.unlink()
    cancel_job(folder)
    assert not queue.asked("scancel")


def test_scancel_s_refusal_is_told(
    queue: FakeSlurm, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    queue.refuse("scancel", "scancel: error: Access/permission denied")
    with pytest.raises(MissingError, match=r"scancel 7_1: .*permission denied"):
        cancel_job(folder)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="scancel: not found on PATH, so Slurm job 7_1"):
        cancel_job(folder)
