"""What squeue says of our jobs, and scancel; how a run stands its folder says, never sacct.

There may be no accounting, and where there is it lags behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from vlbench.errors import MissingError
from vlbench.running.claim import HeldError
from vlbench.running.folder import RunFolder

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
    """It is installed, or the message says how."""
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
    with suppress(HeldError, OSError), folder.claim.held():
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
