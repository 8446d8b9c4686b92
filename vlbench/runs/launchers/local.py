"""The local launcher: a worker in each slot of this machine, until the plan is done."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import INTERRUPTED, MissingError, RunFailed, UsageError, system_message
from vlbench.files import cache_folder, writing_cache
from vlbench.lock import Lock, LockedError, Watch
from vlbench.process import worker_environment
from vlbench.runs.folder import ENDINGS, RunFolder
from vlbench.runs.launchers import Outcome, Resources, failure, known_before, outcome_of
from vlbench.runs.launchers.process import WorkerProcess, worker_command
from vlbench.runs.spec import RunSpec
from vlbench.runs.state import host_and_device
from vlbench.runs.watch import Tail, without_time
from vlbench.text import format_duration
from vlbench.worker import HELD

if TYPE_CHECKING:
    from vlbench.runs.watch import View

POLL_SECONDS = 0.2
REFUSALS = 3
"""So often a holder may have come and gone between two looks."""
FINAL = ("failed", "out-of-memory", "timeout")
"""Endings that another try would only repeat."""


class Job:
    """A run of the plan that is not done yet."""

    def __init__(self, spec: RunSpec, folder: RunFolder) -> None:
        self.spec = spec
        self.folder = folder
        self.watch = Watch(folder.lock)
        self.is_followed = False
        """Whether another command has done it since this one began."""
        self.refusals = 0
        """How many workers said that another process holds it, and none was to be seen."""


@dataclass(frozen=True, slots=True)
class Working:
    """A worker in its slot."""

    job: Job
    slot: Slot
    gpus: ExitStack
    """Closed, they are free for others."""
    worker: WorkerProcess
    attempts: int
    """Before it began."""
    began: float


class LocalLauncher:
    """Runs a plan on this machine; never more workers than slots, a GPU never twice."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.slots = find_slots(resources)

    @property
    def device(self) -> str:
        """The device of its workers: cuda or cpu."""
        return computing_device(self.resources.devices)

    def dry_run(self, specs: Sequence[RunSpec], results: Path) -> str:
        """The workers' commands, by slot in turn."""
        folders = [RunFolder.of(results, spec) for spec in specs]
        to_do = [folder for folder in folders if not folder.is_done]
        lines = [f"# {len(self.slots)} at once: {', '.join(slot.name for slot in self.slots)}"]
        for number, folder in enumerate(to_do):
            slot = self.slots[number % len(self.slots)]
            gpus = f"CUDA_VISIBLE_DEVICES={slot.visible} " if slot.gpus else ""
            command = worker_command(folder, "", self.resources.processes)
            lines.append(f"OMP_NUM_THREADS={slot.threads} {gpus}{shlex.join(command)}")
        return "\n".join(lines)

    def run(self, specs: Sequence[RunSpec], results: Path, view: View) -> list[Outcome]:
        """Do what is not done; a failed run does not stop the others, a missing thing does."""
        self.view = view
        self.outcomes: dict[str, Outcome] = {}
        self.working: list[Working] = []
        self.pending: list[Job] = []
        self.is_waiting = False
        self.is_missing = False
        for spec in specs:
            folder = RunFolder.of(results, spec)
            if outcome := known_before(spec, folder, view):
                self.outcomes[spec.key] = outcome
            else:
                self.pending.append(Job(spec, folder))
        try:
            while self.pending or self.working:
                self._reap()
                self._fill()
                view.tick()
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._stop_all()
            raise
        return [self.outcomes[spec.key] for spec in specs]

    def _fill(self) -> None:
        """Start workers while there are slots; follow the runs that other commands do."""
        for job in list(self.pending):
            if not job.watch.is_free():
                self._follow(job)
            elif job.folder.is_done or self._is_settled_elsewhere(job):
                self._end(job, outcome_of(job.spec, job.folder))
            elif self.is_missing:
                text = "not started, as something is missing for another run of the plan"
                planned = Outcome(job.spec, job.folder, "planned", MissingError.exit_code, text)
                self._end(job, planned)
            elif job.folder.is_cancel_asked:
                self._end(job, self._cancelled(job))
            else:
                self._start(job)

    def _follow(self, job: Job) -> None:
        if not job.is_followed:
            where = f"held by another command: {host_and_device(job.folder)}"
            self.view.began(job.spec, job.folder, where)
        job.is_followed = True

    def _is_settled_elsewhere(self, job: Job) -> bool:
        """Whether the command that did it ended it in a way that is ours to tell, not to mend."""
        return job.is_followed and (job.folder.state in FINAL or job.folder.is_cancel_asked)

    def _start(self, job: Job) -> None:
        """Start a worker where a slot is free."""
        taken = {working.slot for working in self.working}
        for slot in self.slots:
            if slot in taken or (gpus := occupy(slot)) is None:
                continue
            environment = worker_environment(slot.threads, slot.visible if slot.gpus else None)
            attempts, processes = job.folder.attempts(), self.resources.processes
            try:
                worker = WorkerProcess.start(job.folder, slot.name, environment, processes)
            except OSError as error:
                gpus.close()
                text = system_message(error, job.folder.path)
                self._end(job, Outcome(job.spec, job.folder, "failed", RunFailed.exit_code, text))
                return
            self.pending.remove(job)
            self.working.append(Working(job, slot, gpus, worker, attempts, time.monotonic()))
            self.view.began(job.spec, job.folder, slot.name)
            return
        if not self.working and not self.is_waiting:
            names = ", ".join(slot.name for slot in self.slots)
            self.view.say(f"waiting for {names}: other commands use what there is")
            self.is_waiting = True

    def _reap(self) -> None:
        """Take in workers that ended; stop those whose time is over."""
        limit = self.resources.time_limit_minutes
        for working in list(self.working):
            job, worker, code = working.job, working.worker, working.worker.poll()
            seconds = time.monotonic() - working.began
            if code is None:
                if limit is not None and seconds > 60 * limit:
                    worker.stop("timeout")
                continue
            self.working.remove(working)
            working.gpus.close()
            if code == HELD and self._is_held(job):
                self.pending.append(job)
                self._follow(job)
                continue
            if code < 0:
                note_killed(job.folder, -code, working.slot.name, worker.reason)
            outcome = outcome_of(job.spec, job.folder)
            has_begun = job.folder.attempts() > working.attempts
            is_told = has_begun and job.folder.status().get("status") in ENDINGS
            if outcome.exit_code and not is_told:
                outcome = _unsaid(job, code)
            self.is_missing |= outcome.exit_code == MissingError.exit_code
            self._end(job, outcome, seconds)

    def _is_held(self, job: Job) -> bool:
        """Whether to believe a worker that another process holds the run; not again and again."""
        job.refusals = job.refusals + 1 if job.watch.is_free() else 0
        return job.refusals <= REFUSALS

    def _end(self, job: Job, outcome: Outcome, seconds: float | None = None) -> None:
        if job in self.pending:
            self.pending.remove(job)
        self.outcomes[job.spec.key] = outcome
        took = "" if seconds is None or outcome.exit_code else f" in {format_duration(seconds)}"
        self.view.ended(job.spec, job.folder, outcome.told + took)

    def _cancelled(self, job: Job) -> Outcome:
        with suppress(LockedError, OSError), job.folder.lock.acquire():
            job.folder.write_status("cancelled", job.folder.attempts(), error="cancelled")
        return Outcome(job.spec, job.folder, "cancelled", INTERRUPTED, "before it began")

    def _stop_all(self) -> None:
        """Stop every worker and wait for it; a second Ctrl-C kills them."""
        for working in self.working:
            working.worker.stop("cancelled")
        try:
            for working in self.working:
                working.worker.wait()
                folder = working.job.folder
                self.view.ended(working.job.spec, folder, folder.state)
        finally:
            for working in self.working:
                working.worker.kill()
                working.gpus.close()


def _unsaid(job: Job, code: int) -> Outcome:
    """What became of a run whose worker could not write it down, as its log's last line has it."""
    lines = Tail(job.folder.log, is_whole=True).rest() or ["its log is empty"]
    text = f"its worker ended with {code} and left no result: {without_time(lines[-1])}"
    return Outcome(job.spec, job.folder, "failed", failure(code), text)


def note_killed(folder: RunFolder, number: int, where: str, reason: str = "") -> None:
    """Record the end of a worker that could not do so itself."""
    name = signal.Signals(number).name
    text = f"its process was killed ({name})" + (": out of memory?" if name == "SIGKILL" else "")
    if reason:
        text = f"{reason}: it did not stop when told and was killed ({name})"
    status = reason or "stopped"
    with suppress(LockedError, OSError), folder.lock.acquire(where):
        if folder.is_attempt_open and not folder.is_done:
            attempt = folder.attempts()
            folder.note_attempt(attempt, status, where, text)
            folder.write_status(status, attempt, where=where, error=text)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one worker."""

    name: str
    """As people read it: "cpu", "GPU 0", "GPUs 0, 1"."""
    gpus: tuple[str, ...]
    """As CUDA_VISIBLE_DEVICES takes them; none: it computes on the CPU."""
    threads: int

    @property
    def visible(self) -> str:
        """The worker's CUDA_VISIBLE_DEVICES."""
        return ",".join(self.gpus)


def find_slots(resources: Resources) -> list[Slot]:
    """The slots that the user gives to the plan."""
    if resources.jobs < 1 or resources.processes < 1:
        raise UsageError("--jobs and --processes: should be 1 or more.")
    gpus = chosen_gpus(resources.devices)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    size = resources.processes
    if not gpus:
        threads = max(1, (cores or 1) // (resources.jobs * size))
        names = ["cpu"] if resources.jobs == 1 else [f"cpu {n}" for n in range(resources.jobs)]
        return [Slot(name, (), threads) for name in names]
    if resources.jobs > 1:
        raise UsageError(
            f"--jobs {resources.jobs} is for the CPU; on GPUs there is a run on each: "
            "--devices says on which."
        )
    if len(gpus) < size:
        raise MissingError(
            f"--processes {size}: each takes a GPU of its own, and there are {len(gpus)}."
        )
    groups = [gpus[start : start + size] for start in range(0, len(gpus) - size + 1, size)]
    threads = max(1, (cores or 1) // (len(groups) * size))
    return [Slot(_name(group), tuple(group), threads) for group in groups]


def chosen_gpus(devices: str) -> list[str]:
    """The GPUs that `auto`, `cpu` or a list of numbers means, as CUDA_VISIBLE_DEVICES takes them.

    Numbers count what this process sees, so they go through its own CUDA_VISIBLE_DEVICES.
    """
    if devices == "cpu":
        return []
    seen = visible_gpus()
    if devices == "auto":
        return seen
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", devices):
        raise UsageError(
            f"--devices {devices}: should be auto, cpu, or GPUs' numbers such as 0 or 0,1."
        )
    numbers = list(dict.fromkeys(map(int, devices.split(","))))
    if max(numbers) >= len(seen):
        raise MissingError(f"--devices {devices}: this machine has {len(seen)} GPUs.")
    return [seen[number] for number in numbers]


def visible_gpus() -> list[str]:
    """Every GPU this process sees; VLBENCH_FAKE_GPUS=4 pretends four, whose runs use the CPU."""
    pretended = os.environ.get("VLBENCH_FAKE_GPUS", "")
    if pretended:
        if not pretended.isdigit():
            raise UsageError(f"VLBENCH_FAKE_GPUS={pretended}: should be a number of GPUs.")
        return [str(number) for number in range(int(pretended))]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in named.split(",") if name.strip()]
    return names[:count] if names else [str(number) for number in range(count)]


def computing_device(devices: str) -> str:
    """What the workers of a plan compute on: cuda, or cpu."""
    if os.environ.get("VLBENCH_FAKE_GPUS"):
        chosen_gpus(devices)
        return "cpu"
    return "cuda" if chosen_gpus(devices) else "cpu"


def occupy(slot: Slot) -> ExitStack | None:
    """Lock the slot's GPUs against other commands on this machine; None where one is taken.

    They are free again when it is closed, or this process is gone. The CPU is nobody's.
    """
    with ExitStack() as stack, writing_cache():
        try:
            for gpu in slot.gpus:
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


def _name(gpus: list[str]) -> str:
    return f"GPU {gpus[0]}" if len(gpus) == 1 else f"GPUs {', '.join(gpus)}"
