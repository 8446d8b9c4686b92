"""The slurm launcher: one job array for a plan, followed through the folders of its runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.errors import MissingError, RunFailed, UsageError
from vlbench.hints import results_option
from vlbench.printable import printable
from vlbench.running.claim import Claim, HeldError
from vlbench.running.folder import RunFolder
from vlbench.running.launchers import Outcome, Resources, known_before, outcome_of
from vlbench.running.launchers.slurm_job import RunJob, write_job
from vlbench.running.launchers.slurm_queue import (
    OPEN,
    cancel_job,
    forget_job,
    look,
    require_slurm,
    require_submitit,
)
from vlbench.running.launchers.slurm_request import (
    check_resources,
    computing_device,
    is_on_gpus,
    minutes_of,
    request,
    script,
)
from vlbench.running.launchers.slurm_submit import submit
from vlbench.running.spec import RunSpec

if TYPE_CHECKING:
    from vlbench.running.view import View

__all__ = ["SlurmLauncher", "cancel_job"]

TICK_SECONDS = 0.25
LOOK_SECONDS = 1.0
"""Between looks at a run's folder."""
QUEUE_SECONDS = 15.0
"""Between questions to squeue, which a whole cluster asks."""
LOST_SECONDS = 75.0
"""A run whose job is gone for so long is lost; shared folders may show its end only after 60 s."""


class Job:
    """A run of the plan that a job, or another command, is to do."""

    def __init__(self, spec: RunSpec, folder: RunFolder) -> None:
        self.spec = spec
        self.folder = folder
        self.name = ""
        """Slurm's name for it: `12_3`."""
        self.shown: object = None
        """The attempt that was shown last."""
        self.seen_at = time.monotonic()
        """When it was last known to be queued or at work."""


class SlurmLauncher:
    """Runs a plan on a cluster; the state of a run is in its folder, wherever it is done."""

    def __init__(self, resources: Resources) -> None:
        check_resources(resources)
        self.resources = resources

    @property
    def device(self) -> str:
        """What its workers compute on: cuda, or cpu."""
        return computing_device(self.resources.devices, self.resources.slurm.gpus_per_node)

    def dry_run(self, specs: Sequence[RunSpec], results: Path) -> str:
        """The script for sbatch and which run each task of its array does."""
        require_submitit()
        found = [(spec, RunFolder.of(results, spec)) for spec in specs]
        to_do = [each for each in found if each[1].state not in ("done", "running", "queued")]
        if not to_do:
            return "# nothing to submit: every run is done, at work or queued"
        asked = self._asked([spec for spec, _ in to_do])
        lines = [
            printable(f"# task {number}: {spec.name}, {folder.path.absolute()}")
            for number, (spec, folder) in enumerate(to_do)
        ]
        return "\n".join([script(asked, _home(results), len(to_do)).rstrip(), "", *lines])

    def run(self, specs: Sequence[RunSpec], results: Path, view: View) -> list[Outcome]:
        """Submit what is neither done nor queued, and follow all of it; Ctrl-C leaves the jobs."""
        require_slurm()
        _home(results)  # refused before anything is written
        self.view = view
        self.results = results
        self.outcomes: dict[str, Outcome] = {}
        self.open: list[Job] = []
        self.told: set[str] = set()
        for spec in specs:
            folder = RunFolder.of(results, spec)
            if outcome := known_before(spec, folder, view):
                self.outcomes[spec.key] = outcome
            else:
                self.open.append(Job(spec, folder))
        self._submit(self.open)
        if self.resources.detach:
            return [self._outcome(spec) for spec in specs]
        try:
            self._follow()
        except KeyboardInterrupt:
            where = results_option(self.results)
            self.view.say(
                f"{_runs(len(self.open))} left to Slurm, whatever becomes of this command. "
                f"See: vlbench status{where}; end: vlbench cancel --all{where}"
            )
            raise
        return [self.outcomes[spec.key] for spec in specs]

    def _submit(self, jobs: Sequence[Job]) -> None:
        """Submit those for which there is no job; one command does so at a time."""
        if not jobs:
            return
        home = _home(self.results)
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFailed(f"{home}: cannot be written: {error.strerror}") from None

        def wait() -> None:
            self.view.say("another command submits jobs: waiting")

        is_over = False
        while not is_over:  # where file systems know no locks the other one of two may have won
            with suppress(HeldError), Claim(home).held("submitting", wait):
                self._submit_new(jobs, home)
                is_over = True

    def _submit_new(self, jobs: Sequence[Job], home: Path) -> None:
        names = [str(each.folder.job().get("job", "")) for each in jobs]
        queue = look(name for name in names if name)
        new = []
        for each, name in zip(jobs, names, strict=True):
            each.name = name if name in queue else ""
            state = each.folder.state
            if state not in ("done", "running") and not (state in OPEN and each.name):
                new.append(each)
        if new:
            self._send(new, home)
        if len(jobs) > len(new):
            self.view.say(f"{_runs(len(jobs) - len(new))} queued or at work already")

    def _send(self, jobs: Sequence[Job], home: Path) -> None:
        """One array of jobs; its names go into the runs' folders."""
        asked = self._asked([each.spec for each in jobs])
        minutes, processes = minutes_of(self.resources), self.resources.processes
        work = [RunJob(each.folder.path.absolute(), processes, minutes) for each in jobs]
        attempts = [each.folder.attempts() for each in jobs]  # a job may begin at once
        before = set(home.iterdir())
        try:
            names = submit(work, asked, home)
        except MissingError:
            for file in set(home.iterdir()) - before:
                file.unlink(missing_ok=True)
            raise
        for each, name, begun in zip(jobs, names, attempts, strict=True):
            each.name = name
            write_job(each.folder, name, begun)
            each.seen_at = time.monotonic()
        self.view.say(f"{_runs(len(jobs))} submitted as Slurm job {names[0].partition('_')[0]}")

    def _asked(self, specs: Sequence[RunSpec]) -> dict[str, Any]:
        devices = [spec.device for spec in specs]
        return request(self.resources, is_on_gpus(self.resources, devices))

    def _follow(self) -> None:
        """Until every run has ended."""
        looked = asked = time.monotonic()
        while self.open:
            if time.monotonic() - asked >= QUEUE_SECONDS:
                self._ask_queue()
                asked = time.monotonic()
            if time.monotonic() - looked >= LOOK_SECONDS:
                for each in list(self.open):
                    self._look(each)
                looked = time.monotonic()
            self.view.tick()
            time.sleep(TICK_SECONDS)

    def _ask_queue(self) -> None:
        """Note which jobs there are, and say what keeps one from ever starting."""
        try:
            queue = look(each.name for each in self.open if each.name)
        except MissingError as error:  # its daemon may restart
            self._say_once(f"{error}: asking again")
            for each in self.open:
                each.seen_at = time.monotonic()
            return
        for each in self.open:
            if each.name in queue:
                each.seen_at = time.monotonic()
                hindrance = queue[each.name].hindrance
                if hindrance:
                    array = each.name.partition("_")[0]
                    self._say_once(f"Slurm job {array} cannot start as it is. {hindrance}")

    def _look(self, job: Job) -> None:
        folder = job.folder
        state = folder.state
        if state == "running":
            job.seen_at = time.monotonic()
            self._show(job)
        elif state not in OPEN:
            self._end(job, outcome_of(job.spec, folder))
        elif not job.name:  # another command did it and left
            self._submit([job])
        elif time.monotonic() - job.seen_at > LOST_SECONDS:
            self._end(job, self._lost(job, state))

    def _lost(self, job: Job, state: str) -> Outcome:
        """A run whose job ended, or was ended, without a result or an error that is final."""
        said = (
            str(job.folder.status().get("error", "")) if state in ("preempted", "stopped") else ""
        )
        text = f"{said or state}; Slurm job {job.name} is gone from the queue"
        if state in ("planned", "queued"):
            text = (
                f"Slurm job {job.name} is gone from the queue and no worker began: somebody "
                f"cancelled it, or the node does not see {job.folder.path.absolute()}, or it "
                f"failed: see {_home(self.results)}/{job.name}_*.err"
            )
        ended = state if state == "preempted" else "stopped"
        forget_job(job.folder, ended, text, RunFailed.exit_code)
        return Outcome(job.spec, job.folder, ended, RunFailed.exit_code, text)

    def _show(self, job: Job) -> None:
        attempt = job.folder.attempts()
        if job.shown != attempt:
            where = str(job.folder.claim.holder().get("where", ""))
            self.view.began(job.spec, job.folder, where or "held by another command")
            job.shown = attempt

    def _end(self, job: Job, outcome: Outcome) -> None:
        self.open.remove(job)
        self.outcomes[job.spec.key] = outcome
        self.view.ended(job.spec, job.folder, outcome.told)

    def _outcome(self, spec: RunSpec) -> Outcome:
        """How a run stands that is not waited for."""
        if spec.key in self.outcomes:
            return self.outcomes[spec.key]
        folder = RunFolder.of(self.results, spec)
        return Outcome(spec, folder, "queued", 0)

    def _say_once(self, text: str) -> None:
        if text not in self.told:
            self.view.say(text)
            self.told.add(text)


def _home(results: Path) -> Path:
    """Where submitit keeps scripts, pickles and what jobs print; its path stands in scripts."""
    home = results.absolute() / "slurm"
    if printable(str(home)) != str(home):
        raise UsageError(
            f"--results {printable(str(results))}: for --launcher slurm its path should hold no "
            "control characters."
        )
    return home


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
