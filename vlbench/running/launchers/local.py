"""The local launcher: a worker in each slot of this machine, until the plan is done."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import INTERRUPTED, MissingError, RunFailed, told_by_system
from vlbench.running.claim import HeldError, Watch
from vlbench.running.environment import worker_environment
from vlbench.running.folder import ENDINGS, RunFolder
from vlbench.running.launchers import Outcome, Resources, failure, known_before, outcome_of
from vlbench.running.launchers.process import WorkerProcess, worker_command
from vlbench.running.launchers.slots import Slot, computing_device, find_slots, occupy
from vlbench.running.logs import Tail, without_time
from vlbench.running.spec import RunSpec
from vlbench.times import spoken
from vlbench.worker import HELD

if TYPE_CHECKING:
    from vlbench.running.view import View

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
        self.watch = Watch(folder.claim)
        self.is_followed = False
        """Whether another command has done it since this one began."""
        self.refusals = 0
        """How many workers said that another process holds it, and none was to be seen."""


class Working:
    """A worker in its slot."""

    def __init__(
        self, job: Job, slot: Slot, gpus: ExitStack, worker: WorkerProcess, attempts: int
    ) -> None:
        self.job = job
        self.slot = slot
        self.gpus = gpus
        """Closed, they are free for others."""
        self.worker = worker
        self.attempts = attempts
        """Before it began."""
        self.began = time.monotonic()


class LocalLauncher:
    """Runs a plan on this machine; never more workers than slots, a GPU never twice."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.slots = find_slots(resources)

    @property
    def device(self) -> str:
        """What its workers compute on: cuda, or cpu."""
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
        """Start workers while there are slots, and see what became of what others do."""
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
            holder = job.folder.claim.holder()
            where = " ".join(str(holder.get(name, "")) for name in ("host", "where")).strip()
            self.view.began(job.spec, job.folder, f"held by another command: {where}")
        job.is_followed = True

    def _is_settled_elsewhere(self, job: Job) -> bool:
        """Whether the command that did it ended it in a way that is ours to tell, not to mend."""
        return job.is_followed and (job.folder.state in FINAL or job.folder.is_cancel_asked)

    def _start(self, job: Job) -> None:
        """Start a worker where a slot is free."""
        taken = {each.slot for each in self.working}
        for slot in self.slots:
            if slot in taken or (gpus := occupy(slot)) is None:
                continue
            environment = worker_environment(slot.threads, slot.visible if slot.gpus else None)
            attempts = job.folder.attempts()
            try:
                worker = WorkerProcess.start(
                    job.folder, slot.name, environment, self.resources.processes
                )
            except OSError as error:
                gpus.close()
                text = told_by_system(error, job.folder.path)
                self._end(job, Outcome(job.spec, job.folder, "failed", RunFailed.exit_code, text))
                return
            self.pending.remove(job)
            self.working.append(Working(job, slot, gpus, worker, attempts))
            self.view.began(job.spec, job.folder, slot.name)
            return
        if not self.working and not self.is_waiting:
            names = ", ".join(slot.name for slot in self.slots)
            self.view.say(f"waiting for {names}: other commands use what there is")
            self.is_waiting = True

    def _reap(self) -> None:
        """Take in workers that ended; tell those to end whose time is over."""
        limit = self.resources.time_limit_minutes
        for each in list(self.working):
            code = each.worker.poll()
            if code is None:
                if limit is not None and time.monotonic() - each.began > 60 * limit:
                    each.worker.stop("timeout")
                continue
            self.working.remove(each)
            each.gpus.close()
            if code == HELD and self._is_held(each.job):
                self.pending.append(each.job)
                self._follow(each.job)
                continue
            if code < 0:
                note_killed(each.job.folder, -code, each.slot.name, each.worker.reason)
            outcome = outcome_of(each.job.spec, each.job.folder)
            has_begun = each.job.folder.attempts() > each.attempts
            is_told = has_begun and each.job.folder.status().get("status") in ENDINGS
            if outcome.exit_code and not is_told:
                outcome = _unsaid(each.job, code)
            self.is_missing |= outcome.exit_code == MissingError.exit_code
            self._end(each.job, outcome, time.monotonic() - each.began)

    def _is_held(self, job: Job) -> bool:
        """Whether to believe a worker that another process holds the run; not again and again."""
        job.refusals = job.refusals + 1 if job.watch.is_free() else 0
        return job.refusals <= REFUSALS

    def _end(self, job: Job, outcome: Outcome, seconds: float | None = None) -> None:
        if job in self.pending:
            self.pending.remove(job)
        self.outcomes[job.spec.key] = outcome
        took = "" if seconds is None or outcome.exit_code else f" in {spoken(seconds)}"
        self.view.ended(job.spec, job.folder, outcome.told + took)

    def _cancelled(self, job: Job) -> Outcome:
        with suppress(HeldError, OSError), job.folder.claim.held():
            job.folder.write_status("cancelled", job.folder.attempts(), error="cancelled")
        return Outcome(job.spec, job.folder, "cancelled", INTERRUPTED, "before it began")

    def _stop_all(self) -> None:
        """Tell every worker to go and wait for it; a second Ctrl-C kills them."""
        for each in self.working:
            each.worker.stop("cancelled")
        try:
            for each in self.working:
                each.worker.wait()
                self.view.ended(each.job.spec, each.job.folder, each.job.folder.state)
        finally:
            for each in self.working:
                each.worker.kill()
                each.gpus.close()


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
    with suppress(HeldError, OSError), folder.claim.held(where):
        if folder.is_attempt_open and not folder.is_done:
            attempt = folder.attempts()
            folder.note_attempt(attempt, status, where, text)
            folder.write_status(status, attempt, where=where, error=text)
