"""A job of Slurm: it does one run, by a worker of its own; and what the queue says of it.

It takes the warning that Slurm sends before the time limit, and before another job takes the place,
from submitit: submitit's way writes the pickle anew, counts time limits and needs to know them, and
a job that is killed while it writes cannot start again. Here the run's checkpoint holds everything.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vlbench.errors import MissingError, RunFailed, explain
from vlbench.files import write_atomically
from vlbench.lock import LockedError
from vlbench.process import worker_environment
from vlbench.runs.folder import RunFolder
from vlbench.runs.launchers import failure
from vlbench.runs.launchers.local import note_killed
from vlbench.runs.launchers.process import WorkerProcess
from vlbench.runs.watch import Progress
from vlbench.text import format_duration, now
from vlbench.worker import HELD

POLL_SECONDS = 0.1
IDLE_ATTEMPTS = 3
"""A job that often had time enough and kept nothing new is not started again."""
IDLE_MINUTES = 20.0
"""What counts as time enough where the time limit is the cluster's; else half of the limit."""
REQUEUE_SECONDS = 60
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
TIMEOUT_SECONDS = 60
GONE = "Invalid job id"
"""What squeue says when it is asked for one job that it no longer knows."""
NEVER = {
    "PartitionTimeLimit": "the time limit is above the partition's: time_minutes",
    "PartitionNodeLimit": "the partition is too small for it: partition, gpus_per_node",
    "PartitionDown": "the partition takes no jobs: partition",
    "PartitionInactive": "the partition takes no jobs: partition",
    "ReqNodeNotAvail": "the node it needs is not available: partition, constraint",
    "BadConstraints": "no node has what it asks for: constraint, memory_gb, gpus_per_node",
    "InvalidAccount": "the account is not known: account",
    "InvalidQOS": "the quality of service is not known: qos",
    "AccountNotAllowed": "the partition is not for this account: account, partition",
    "QOSNotAllowed": "the partition is not for this quality of service: qos, partition",
    "JobHeldUser": "it is held: scontrol release lets it go",
    "JobHeldAdmin": "it is held by an administrator",
    "JobHoldMaxRequeue": "it was requeued too often, and is held: scontrol release lets it go",
    "launch failed requeued held": "its node could not start it: scontrol release tries again",
    "DependencyNeverSatisfied": "what it depends on failed: extra",
}
"""Reasons of squeue for which a job waits until somebody does something; what that could be."""
OPEN = ("planned", "queued", "preempted", "stopped")
"""States in which a run needs a job to go on."""
KEPT = ("SLURM_CONF", "SLURM_JWT")
"""How to reach Slurm; every other SLURM_ variable is of a job that this process is in."""


class RunJob:
    """Does one run in a job; submitit pickles it, so it holds next to nothing."""

    def __init__(self, path: Path, processes: int = 1, minutes: int | None = None) -> None:
        self.path = path
        self.processes = processes
        self.minutes = minutes

    def __call__(self) -> int:
        """Have a worker do it; requeue the job where Slurm wants the place back before the end."""
        try:
            return self._do()
        except Exception as error:
            if (explained := explain(error, self.path)) is None:
                raise
            print(f"vlbench: {explained}", file=sys.stderr)
            sys.exit(explained.exit_code)

    def _do(self) -> int:
        folder = RunFolder(self.path)
        kept, began = _kept(folder), time.monotonic()
        code, came = self._work(folder)
        if folder.is_done or code == HELD:
            return code
        if _warning() in came and folder.state in OPEN:
            self._go_on(folder, _kept(folder) == kept, time.monotonic() - began)
        elif not came and (folder.state == "queued" or not code):
            text = f"its worker ended with {code} and left no result: see {folder.log}"
            forget_job(folder, "failed", text, failure(code))
        sys.exit(failure(code))  # a failed job for Slurm, too

    def _work(self, folder: RunFolder) -> tuple[int, set[int]]:
        """The worker's exit code, and which signals came meanwhile."""
        where = f"slurm {job_name()}"
        came: set[int] = set()

        def note(number: int, frame: object) -> None:
            came.add(number)

        with _held_back(_warning()):
            worker = WorkerProcess.start(
                folder, where, worker_environment(threads(self.processes)), self.processes
            )
            signal.signal(signal.SIGTERM, note)
            signal.signal(_warning(), note)
        while (code := worker.poll()) is None:
            if _warning() in came and signal.SIGTERM not in came:  # that one Slurm sends to both
                worker.stop("preempted")
            time.sleep(POLL_SECONDS)
        if code < 0:
            note_killed(folder, -code, where, worker.reason)
        return code, came

    def _go_on(self, folder: RunFolder, is_idle: bool, seconds: float) -> None:
        """Have Slurm start this job again, unless that gets it nowhere."""
        enough = 30 * self.minutes if self.minutes else 60 * IDLE_MINUTES
        idle = int(folder.job().get("idle", 0))
        idle = (idle + 1 if seconds >= enough else idle) if is_idle else 0
        if idle >= IDLE_ATTEMPTS:
            last = format_duration(seconds)
            text = (
                f"timeout: {IDLE_ATTEMPTS} attempts, the last of {last}, kept nothing new: "
                "it needs a longer time limit (time_minutes in [slurm] of vlbench.toml)"
            )
            Progress(folder.log, is_shown=False).log(text)
            forget_job(folder, "timeout", text, RunFailed.exit_code)
            return
        line = ["scontrol", "requeue", job_name()]
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=REQUEUE_SECONDS
        )
        if done.returncode:
            text = f"preempted, and scontrol requeue refuses: {done.stderr.strip()}"
        else:
            write_job(folder, job_name(), folder.attempts(), idle)
            text = f"requeued: Slurm job {job_name()} goes on from the last checkpoint"
        with suppress(OSError):
            Progress(folder.log, is_shown=False).log(text)


def write_job(folder: RunFolder, job: str, attempts: int, idle: int = 0) -> None:
    """Say which job is to do the run, and that so many attempts began before it."""
    table: dict[str, str | int] = {"launcher": "slurm", "job": job, "submitted_at": now()}
    table |= {"attempts": attempts, "idle": idle}
    write_atomically(folder.job_file, json.dumps(table) + "\n")


def job_name() -> str:
    """This job as Slurm's commands take it: `12`, or `12_3` for a task of an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def threads(processes: int) -> int:
    """Threads for each process of the run, by what Slurm gave the job."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE", "1")
    return max(1, min(int(given), len(os.sched_getaffinity(0))) // processes)


def _kept(folder: RunFolder) -> set[str]:
    """What an attempt would go on from."""
    found = {file.name for file in folder.checkpoints.files()}
    return found | {file.name for file in folder.answers.glob("*.json")}


def _warning() -> signal.Signals:
    """The signal that submitit has Slurm send; SUBMITIT_PREEMPT_SIGNAL names another one."""
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """A signal waits while this lasts, and for good in processes that are started here.

    Slurm signals every process of a job, and one that does not expect this signal dies of it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that Slurm still has."""

    state: str
    """PENDING, RUNNING and so on."""
    reason: str
    """Why it waits, in Slurm's word."""

    @property
    def hindrance(self) -> str:
        """What keeps it from ever starting; empty where it is only a matter of time."""
        word = self.reason.split(",")[0].strip("()")
        return f"{self.reason}: {NEVER[word]}" if word in NEVER else ""


def require_slurm() -> None:
    """Slurm's commands and submitit are there, or the message says what to do."""
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        raise MissingError(
            f"--launcher slurm: not found on PATH: {', '.join(absent)}. Start the command on a "
            "machine of the cluster that can submit jobs, or use --launcher local."
        )
    require_submitit()


def require_submitit() -> None:
    """Refuse to go on without submitit, with how to install it."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise MissingError(
            "--launcher slurm needs submitit: pip install 'vlbench[slurm]'."
        ) from None


def look(jobs: Iterable[str]) -> dict[str, Queued]:
    """Those of the jobs that Slurm still has, each task of an array by its own name `12_3`."""
    wanted = set(jobs)
    if not wanted:
        return {}
    arrays = sorted({job.partition("_")[0] for job in wanted})
    line = ["squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={','.join(arrays)}"]
    done = _ask(line)
    if done.returncode and GONE not in done.stderr:
        raise MissingError(f"squeue: {_said(done.stderr)}")
    found = {}
    for text in done.stdout.splitlines():
        job, _, rest = text.strip().partition("|")
        state, _, reason = rest.partition("|")
        if job in wanted:
            found[job] = Queued(state, reason)
    return found


def outside_of_jobs(given: Mapping[str, str]) -> dict[str, str]:
    """An environment for Slurm's commands as if this process were in no job."""
    ours = ("SLURM_", "SQUEUE_", "SCANCEL_")
    return {
        name: value for name, value in given.items() if name in KEPT or not name.startswith(ours)
    }


def cancel_job(folder: RunFolder) -> None:
    """Take the run's job out of the queue, where it still waits; a running one sees the file."""
    job = str(folder.job().get("job", ""))
    if not job:
        return
    if shutil.which("scancel") is None:
        raise MissingError(f"scancel: not found on PATH, so Slurm job {job} stays in the queue.")
    done = _ask(["scancel", "--state=PENDING", job])
    if done.returncode and GONE not in done.stderr:
        raise MissingError(f"scancel {job}: {_said(done.stderr)}")
    if job in look([job]):
        return  # it runs, or just began to
    forget_job(folder, "cancelled", "cancelled before it began")


def forget_job(folder: RunFolder, status: str, text: str, code: int = 0) -> None:
    """Say how a run stands whose job is gone and said nothing of it itself."""
    is_open = folder.state in OPEN
    with suppress(LockedError, OSError), folder.lock.acquire():
        if not is_open or folder.is_done:
            return
        folder.job_file.unlink(missing_ok=True)
        more = {"exit_code": code} if code else {}
        folder.write_status(status, folder.attempts(), error=text, **more)


def _ask(line: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**outside_of_jobs(os.environ), "LC_ALL": "C"}
    try:
        return subprocess.run(
            line,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(line, 1, "", f"no answer in {TIMEOUT_SECONDS} s")


def _said(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines) or "no reason given"
