"""The local launcher: a worker in each slot of this machine, until the plan is done."""

from __future__ import annotations

import os
import re
import shlex
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from vlbench.errors import INTERRUPTED, MissingError, RunFailed, UsageError, system_message
from vlbench.files import cache_folder, writing_cache
from vlbench.lock import Lock, LockedError, Watch
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
from vlbench.runs.state import host_and_device
from vlbench.text import format_duration
from vlbench.worker import HELD

POLL_SECONDS = 0.2
FINAL = ("failed", "out-of-memory", "timeout")
"""Endings that another try would only repeat."""


class Job:
    """A run of the plan that is not done yet: at work in a slot, waiting, or done elsewhere."""

    def __init__(self, spec: RunSpec, folder: RunFolder) -> None:
        self.spec = spec
        self.folder = folder
        self.watch = Watch(folder.lock)
        self.is_followed = False
        """Whether another command has done it since this one began."""
        self.worker: WorkerProcess | None = None

    def start(self, slot: Slot, gpus: ExitStack, processes: int) -> None:
        """Start a worker; `gpus`, closed, are free for others."""
        self.slot, self.gpus = slot, gpus
        self.attempts, self.began = self.folder.attempts(), time.monotonic()
        environment = worker_environment(slot.threads, slot.gpus or None)
        self.worker = WorkerProcess(self.folder, slot.name, environment, processes)


class LocalLauncher(Launcher):
    """Runs a plan on this machine; never more workers than slots, a GPU never twice."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources)
        self.slots = find_slots(resources)
        is_pretended = bool(os.environ.get("VLBENCH_FAKE_GPUS"))
        self.device = "cuda" if self.slots[0].gpus and not is_pretended else "cpu"

    def dry_run(self, specs: Sequence[RunSpec], results: Path) -> str:
        folders = [RunFolder.of(results, spec) for spec in specs]
        to_do = [folder for folder in folders if not folder.is_done]
        lines = [f"# {len(self.slots)} at once: {', '.join(slot.name for slot in self.slots)}"]
        for number, folder in enumerate(to_do):
            slot = self.slots[number % len(self.slots)]
            gpus = f"CUDA_VISIBLE_DEVICES={slot.gpus} " if slot.gpus else ""
            command = worker_command(folder, "", self.resources.processes)
            lines.append(f"OMP_NUM_THREADS={slot.threads} {gpus}{shlex.join(command)}")
        return "\n".join(lines)

    def work(self, runs: Sequence[tuple[RunSpec, RunFolder]]) -> None:
        self.jobs = [Job(*run) for run in runs]
        self.is_missing = False
        """Whether something is missing for one run of the plan, and so for the others."""
        try:
            while self.jobs:
                for job in list(self.jobs):
                    if outcome := self._reap(job) if job.worker else self._advance(job):
                        self.jobs.remove(job)
                        self.is_missing |= outcome.exit_code == MissingError.exit_code
                        is_ours = job.worker is not None and not outcome.exit_code
                        seconds = time.monotonic() - job.began if is_ours else 0
                        self.end(outcome, f" in {format_duration(seconds)}" if is_ours else "")
                self.view.tick()
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._stop_all()
            raise

    def _advance(self, job: Job) -> Outcome | None:
        """Follow a run that another command does, start it where a slot is free, or give it up."""
        folder = job.folder
        if not job.watch.is_free():
            self._follow(job)
        elif folder.is_done or (
            job.is_followed and (folder.state in FINAL or folder.is_cancel_asked)
        ):
            return outcome_of(job.spec, folder)
        elif self.is_missing:
            text = "not started, as something is missing for another run of the plan"
            return Outcome(job.spec, folder, "planned", MissingError.exit_code, text)
        elif folder.is_cancel_asked:
            with suppress(LockedError, OSError), folder.lock.acquire():
                folder.write_status("cancelled", folder.attempts(), error="cancelled")
            return Outcome(job.spec, folder, "cancelled", INTERRUPTED, "before it began")
        else:
            return self._start(job)
        return None

    def _follow(self, job: Job) -> None:
        if not job.is_followed:
            where = f"held by another command: {host_and_device(job.folder)}"
            self.view.began(job.spec, job.folder, where)
        job.is_followed = True

    def _start(self, job: Job) -> Outcome | None:
        """Start a worker where a slot is free; an outcome where that fails."""
        busy = [other.slot for other in self.jobs if other.worker]
        for slot in self.slots:
            if slot not in busy and (gpus := occupy(slot)) is not None:
                try:
                    job.start(slot, gpus, self.resources.processes)
                except OSError as error:
                    gpus.close()
                    text = system_message(error, job.folder.path)
                    return Outcome(job.spec, job.folder, "failed", RunFailed.exit_code, text)
                self.view.began(job.spec, job.folder, slot.name)
                return None
        if not busy:
            names = ", ".join(slot.name for slot in self.slots)
            self.say_once(f"waiting for {names}: other commands use what there is")
        return None

    def _reap(self, job: Job) -> Outcome | None:
        """How a worker's run ended; stop a worker whose time is over."""
        assert job.worker is not None
        limit, code = self.resources.time_limit_minutes, job.worker.poll()
        if code is None:
            if limit is not None and time.monotonic() - job.began > 60 * limit:
                job.worker.stop("timeout")
            return None
        job.gpus.close()
        if code == HELD:  # another command was faster
            job.worker = None
            self._follow(job)
            return None
        outcome = outcome_of(job.spec, job.folder)
        has_begun = job.folder.attempts() > job.attempts
        if outcome.exit_code and not (has_begun and job.folder.status().get("status") in ENDINGS):
            text = unexplained(job.folder, code)
            return Outcome(job.spec, job.folder, "failed", failure_code(code), text)
        return outcome

    def _stop_all(self) -> None:
        """Stop every worker and wait for it; a second Ctrl-C kills them."""
        at_work = [(job, job.worker) for job in self.jobs if job.worker]
        for _, worker in at_work:
            worker.stop("cancelled")
        try:
            for job, worker in at_work:
                while worker.poll() is None:
                    time.sleep(0.05)
                self.view.ended(job.spec, job.folder, job.folder.state)
        finally:
            for job, worker in at_work:
                worker.kill()
                job.gpus.close()


class Slot(NamedTuple):
    """Room for one worker."""

    name: str
    """As people read it: "cpu", "GPU 0", "GPUs 0, 1"."""
    gpus: str
    """As CUDA_VISIBLE_DEVICES takes them; empty: it computes on the CPU."""
    threads: int


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
        if not pretended.isdigit():
            raise UsageError(f"VLBENCH_FAKE_GPUS={pretended}: should be a number of GPUs.")
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


def occupy(slot: Slot) -> ExitStack | None:
    """Lock the slot's GPUs against other commands on this machine; None where one is taken.

    They are free again when it is closed, or this process is gone. The CPU is nobody's.
    """
    with ExitStack() as stack, writing_cache():
        try:
            for gpu in filter(None, slot.gpus.split(",")):
                name = re.sub(r"[^A-Za-z0-9-]", "_", f"{socket.gethostname()}-{gpu}")
                watch = _watch(cache_folder() / "devices" / name)
                if not watch.is_free():
                    return None
                stack.enter_context(watch.lock.acquire(slot.name, watch=watch))
        except LockedError:
            return None
        return stack.pop_all()


@cache
def _watch(folder: Path) -> Watch:
    """Watch of a GPU's lock; cached, as it measures how long a holder is silent."""
    folder.mkdir(parents=True, exist_ok=True)
    return Watch(Lock(folder))
