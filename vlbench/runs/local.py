"""The local launcher: a worker in each slot of this machine, until the plan is done."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vlbench.errors import MissingError, RunFailed, UsageError, system_message
from vlbench.process import worker_environment
from vlbench.runs.folder import ENDINGS, RunFolder
from vlbench.runs.launch import (
    Launcher,
    Outcome,
    Resources,
    WorkerProcess,
    failure_code,
    outcome_of,
    unexplained,
    worker_command,
)
from vlbench.runs.spec import RunSpec
from vlbench.worker import HELD

POLL_SECONDS = 0.2
FINAL = ("failed", "out-of-memory", "timeout")
"""Endings that another try would only repeat."""


class Slot(NamedTuple):
    """Room for one worker."""

    name: str
    """As people read it: "cpu", "GPU 0", "GPUs 0, 1"."""
    gpus: str
    """As CUDA_VISIBLE_DEVICES takes them; empty: it computes on the CPU."""
    threads: int


@dataclass
class Job:
    """A run of the plan that is not done yet: at work in a slot, waiting, or done elsewhere."""

    spec: RunSpec
    folder: RunFolder
    is_followed: bool = False
    """Whether another command has done it since this one began."""
    worker: WorkerProcess | None = None
    slot: Slot | None = None
    attempts: int = 0
    """Number of attempts before the worker's."""
    began: float = 0.0


class LocalLauncher(Launcher):
    """Runs a plan on this machine, never more workers than slots."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources)
        self._warm: WorkerProcess | None = None
        self.slots = find_slots(resources)
        is_pretended = bool(os.environ.get("VLBENCH_FAKE_GPUS"))
        self.device = "cuda" if self.slots[0].gpus and not is_pretended else "cpu"

    def dry_run(self, specs: Sequence[RunSpec], results: Path) -> str:
        folders = [RunFolder.of(results, spec) for spec in specs]
        lines = [f"# {len(self.slots)} at once: {', '.join(slot.name for slot in self.slots)}"]
        for number, folder in enumerate(folder for folder in folders if not folder.is_done):
            slot = self.slots[number % len(self.slots)]
            gpus = f"CUDA_VISIBLE_DEVICES={slot.gpus} " if slot.gpus else ""
            command = worker_command(folder, "", self.resources.processes)
            lines.append(f"OMP_NUM_THREADS={slot.threads} {gpus}{shlex.join(command)}")
        return "\n".join(lines)

    @contextmanager
    def warm(self) -> Iterator[None]:
        """Let the first slot's worker import its libraries while the plan is made."""
        slot = self.slots[0]
        if self.resources.processes == 1:
            environment = worker_environment(slot.threads, slot.gpus)
            self._warm = WorkerProcess(None, slot.name, environment)
        try:
            yield
        finally:
            if self._warm:
                self._warm.kill()

    def work(self, runs: Sequence[tuple[RunSpec, RunFolder]]) -> None:
        self.jobs = [Job(*run) for run in runs]
        try:
            while self.jobs:
                taken = [job.slot for job in self.jobs]
                free = [slot for slot in self.slots if slot not in taken]
                for job in list(self.jobs):
                    if outcome := self._reap(job) if job.worker else self._advance(job, free):
                        self.jobs.remove(job)
                        self.end(outcome)
                self.view.tick()
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._stop_all()
            raise

    def _advance(self, job: Job, free: list[Slot]) -> Outcome | None:
        """Follow a run that another command does, or start it in a free slot, which it takes."""
        folder = job.folder
        if not folder.lock.is_free():
            if not job.is_followed:
                where = str(folder.lock.holder().get("where", ""))
                self.view.began(job.spec, folder, f"held by another command: {where}")
            job.is_followed = True
        elif folder.is_done or (job.is_followed and folder.state in FINAL):
            return outcome_of(job.spec, folder)
        elif free:
            slot = free[0]
            job.attempts, job.began = folder.attempts(), time.monotonic()
            try:
                job.worker = self._worker(folder, slot)
            except OSError as error:
                text = system_message(error, folder.path)
                return Outcome(job.spec, folder, "failed", RunFailed.exit_code, text)
            job.slot = slot
            free.remove(slot)
            self.view.began(job.spec, folder, slot.name)
        return None

    def _worker(self, folder: RunFolder, slot: Slot) -> WorkerProcess:
        """The slot's worker at this run."""
        if slot is self.slots[0] and (warm := self._warm):
            self._warm = None
            if warm.take(folder):
                return warm
        environment = worker_environment(slot.threads, slot.gpus)
        return WorkerProcess(folder, slot.name, environment, self.resources.processes)

    def _reap(self, job: Job) -> Outcome | None:
        assert job.worker is not None
        limit, code = self.resources.time_limit_minutes, job.worker.poll()
        if code is None:
            if limit is not None and time.monotonic() - job.began > 60 * limit:
                job.worker.stop("timeout")
            return None
        if code == HELD:  # another command was faster
            job.worker = job.slot = None
            return None
        outcome = outcome_of(job.spec, job.folder)
        has_begun = job.folder.attempts() > job.attempts
        if outcome.exit_code and not (has_begun and job.folder.status().get("status") in ENDINGS):
            status = job.worker.reason or ("stopped" if code < 0 else "failed")
            text = unexplained(job.folder, code)
            return Outcome(job.spec, job.folder, status, failure_code(code), text)
        return outcome

    def _stop_all(self) -> None:
        at_work = [(job, job.worker) for job in self.jobs if job.worker]
        for _, worker in at_work:
            worker.stop("cancelled")
        try:
            for job, worker in at_work:
                while worker.poll() is None:
                    time.sleep(0.05)
                self.view.ended(job.spec, job.folder, job.folder.state)
        finally:
            for _, worker in at_work:
                worker.kill()


def find_slots(resources: Resources) -> list[Slot]:
    """The slots that the user gives to the plan."""
    gpus, jobs, size = chosen_gpus(resources.devices), resources.jobs, resources.processes
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not gpus:
        threads = max(1, (cores or 1) // (jobs * size))
        names = ["cpu"] if jobs == 1 else [f"cpu {number}" for number in range(jobs)]
        return [Slot(name, "", threads) for name in names]
    if jobs > 1:
        raise UsageError(
            f"--jobs {jobs} is for the CPU; on GPUs there is a run on each: --devices says on "
            "which."
        )
    if len(gpus) < size:
        raise MissingError(
            f"--processes {size}: each takes a GPU of its own, and there are {len(gpus)}."
        )
    groups = [gpus[start : start + size] for start in range(0, len(gpus) - size + 1, size)]
    threads = max(1, (cores or 1) // (len(groups) * size))
    name = "GPUs " if size > 1 else "GPU "
    return [Slot(name + ", ".join(group), ",".join(group), threads) for group in groups]


def chosen_gpus(devices: str) -> list[str]:
    """The GPUs that `auto`, `cpu` or a list of numbers means, as CUDA_VISIBLE_DEVICES takes them.

    Numbers count what this process sees, so they go through its own CUDA_VISIBLE_DEVICES.
    VLBENCH_FAKE_GPUS=4 pretends four, whose runs use the CPU.
    """
    if devices == "cpu":
        return []
    if pretended := os.environ.get("VLBENCH_FAKE_GPUS", ""):
        gpus = [str(number) for number in range(int(pretended))]
    else:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = [name.strip() for name in named if name.strip()]
        gpus = names[:count] or [str(number) for number in range(count)]
    if devices == "auto":
        return gpus
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", devices):
        raise UsageError(
            f"--devices {devices}: should be auto, cpu, or GPUs' numbers such as 0 or 0,1."
        )
    numbers = list(dict.fromkeys(map(int, devices.split(","))))
    if max(numbers) >= len(gpus):
        raise MissingError(f"--devices {devices}: this machine has {len(gpus)} GPUs.")
    return [gpus[number] for number in numbers]
