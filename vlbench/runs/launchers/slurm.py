"""The slurm launcher: one job array for a plan, followed through the folders of its runs."""

from __future__ import annotations

import io
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.config import load_config
from vlbench.errors import MissingError, RunFailed, UsageError
from vlbench.lock import Lock, LockedError
from vlbench.runs.folder import RunFolder
from vlbench.runs.launchers import Outcome, Resources, known_before, outcome_of
from vlbench.runs.launchers.slurm_job import (
    OPEN,
    RunJob,
    forget_job,
    look,
    outside_of_jobs,
    require_slurm,
    require_submitit,
    write_job,
)
from vlbench.runs.spec import RunSpec
from vlbench.text import printable, results_option

if TYPE_CHECKING:
    from vlbench.runs.watch import View

TICK_SECONDS = 0.25
LOOK_SECONDS = 1.0
"""Between looks at a run's folder."""
QUEUE_SECONDS = 15.0
"""Between questions to squeue, which a whole cluster asks."""
LOST_SECONDS = 75.0
"""A run whose job is gone for so long is lost; shared folders may show its end only after 60 s."""
SIGNAL_SLACK_SECONDS = 60
"""Slurm may warn a job so much earlier than it was asked to."""
PYTHON = f"{shlex.quote(sys.executable)} -P"
"""How jobs start Python: without the current folder on its path."""


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
        """The device of its workers: cuda or cpu."""
        return computing_device(self.resources.devices, self.resources.slurm.gpus_per_node)

    def dry_run(self, specs: Sequence[RunSpec], results: Path) -> str:
        """The script for sbatch and which run each task of its array does."""
        require_submitit()
        runs = [(spec, RunFolder.of(results, spec)) for spec in specs]
        to_do = [run for run in runs if run[1].state not in ("done", "running", "queued")]
        if not to_do:
            return "# nothing to submit: every run is done, at work or queued"
        parameters = self._parameters([spec for spec, _ in to_do])
        lines = [
            printable(f"# task {number}: {spec.name}, {folder.path.absolute()}")
            for number, (spec, folder) in enumerate(to_do)
        ]
        return "\n".join([script(parameters, _home(results), len(to_do)).rstrip(), "", *lines])

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
            for job in self.open:
                self.outcomes[job.spec.key] = Outcome(job.spec, job.folder, "queued", 0)
            return [self.outcomes[spec.key] for spec in specs]
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
            with suppress(LockedError), Lock(home).acquire("submitting", wait):
                self._submit_new(jobs, home)
                is_over = True

    def _submit_new(self, jobs: Sequence[Job], home: Path) -> None:
        names = [str(job.folder.job().get("job", "")) for job in jobs]
        queue = look(name for name in names if name)
        new = []
        for job, name in zip(jobs, names, strict=True):
            job.name = name if name in queue else ""
            state = job.folder.state
            if state not in ("done", "running") and not (state in OPEN and job.name):
                new.append(job)
        if new:
            self._send(new, home)
        if len(jobs) > len(new):
            self.view.say(f"{_runs(len(jobs) - len(new))} queued or at work already")

    def _send(self, jobs: Sequence[Job], home: Path) -> None:
        """One array of jobs; its names go into the runs' folders."""
        parameters = self._parameters([job.spec for job in jobs])
        minutes, processes = minutes_of(self.resources), self.resources.processes
        work = [RunJob(job.folder.path.absolute(), processes, minutes) for job in jobs]
        attempts = [job.folder.attempts() for job in jobs]  # a job may begin at once
        before = set(home.iterdir())
        try:
            names = submit(work, parameters, home)
        except MissingError:
            for file in set(home.iterdir()) - before:
                file.unlink(missing_ok=True)
            raise
        for job, name, begun in zip(jobs, names, attempts, strict=True):
            job.name = name
            write_job(job.folder, name, begun)
            job.seen_at = time.monotonic()
        self.view.say(f"{_runs(len(jobs))} submitted as Slurm job {names[0].partition('_')[0]}")

    def _parameters(self, specs: Sequence[RunSpec]) -> dict[str, Any]:
        devices = [spec.device for spec in specs]
        return request(self.resources, is_on_gpus(self.resources, devices))

    def _follow(self) -> None:
        """Until every run has ended."""
        looked = queried = time.monotonic()
        while self.open:
            if time.monotonic() - queried >= QUEUE_SECONDS:
                self._ask_queue()
                queried = time.monotonic()
            if time.monotonic() - looked >= LOOK_SECONDS:
                for job in list(self.open):
                    self._look(job)
                looked = time.monotonic()
            self.view.tick()
            time.sleep(TICK_SECONDS)

    def _ask_queue(self) -> None:
        """Note which jobs there are, and say what keeps one from ever starting."""
        try:
            queue = look(job.name for job in self.open if job.name)
        except MissingError as error:  # its daemon may restart
            self._say_once(f"{error}: asking again")
            for job in self.open:
                job.seen_at = time.monotonic()
            return
        for job in self.open:
            if job.name in queue:
                job.seen_at = time.monotonic()
                hindrance = queue[job.name].hindrance
                if hindrance:
                    array = job.name.partition("_")[0]
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
        if state in ("preempted", "stopped"):
            reason = str(job.folder.status().get("error", "")) or state
            text = f"{reason}; Slurm job {job.name} is gone from the queue"
        else:
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
            where = str(job.folder.lock.holder().get("where", ""))
            self.view.began(job.spec, job.folder, where or "held by another command")
            job.shown = attempt

    def _end(self, job: Job, outcome: Outcome) -> None:
        self.open.remove(job)
        self.outcomes[job.spec.key] = outcome
        self.view.ended(job.spec, job.folder, outcome.told)

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


def computing_device(devices: str, gpus_per_node: int | None) -> str:
    """What jobs compute on, cuda or cpu; the machine that submits them need not have a GPU."""
    is_on_cpu = devices == "cpu" or gpus_per_node == 0 or os.environ.get("VLBENCH_FAKE_GPUS")
    return "cpu" if is_on_cpu else "cuda"


def check_resources(resources: Resources) -> None:
    """Refuse options that mean something on one machine only."""
    if resources.devices not in ("auto", "cpu"):
        raise UsageError(
            f"--devices {resources.devices}: with --launcher slurm it should be auto or cpu, "
            "as Slurm hands out the GPUs."
        )
    if resources.jobs > 1:
        raise UsageError(
            f"--jobs {resources.jobs} is for --launcher local: how many jobs there are at once "
            "says array_parallelism in [slurm] of vlbench.toml."
        )
    if resources.processes < 1:
        raise UsageError("--processes: should be 1 or more.")
    name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")  # it stands in the script
    if f"SIG{name}" not in signal.Signals.__members__:
        raise UsageError(f"SUBMITIT_PREEMPT_SIGNAL={printable(name)}: no such signal; USR2 is one.")
    minutes, warned = minutes_of(resources), resources.slurm.signal_seconds
    if minutes is not None and 60 * minutes <= warned + SIGNAL_SLACK_SECONDS:
        raise UsageError(
            f"A time limit of {minutes} minutes is too short: Slurm warns jobs {warned} s before "
            f"it (signal_seconds in [slurm] of vlbench.toml), or up to {SIGNAL_SLACK_SECONDS} s "
            "earlier still."
        )


def minutes_of(resources: Resources) -> int | None:
    """A job's time limit; None: the partition's own."""
    limit = resources.time_limit_minutes or resources.slurm.time_minutes
    return None if limit is None else math.ceil(limit)


def request(resources: Resources, is_on_gpus: bool) -> dict[str, Any]:
    """The parameters of submitit for these jobs."""
    settings = resources.slurm
    more: dict[str, Any] = {"requeue": True}
    if settings.memory_gb is not None:
        more["mem"] = f"{math.ceil(1024 * settings.memory_gb)}M"
    for name, value in settings.extra.items():  # spelt as submitit does, to replace our own
        more[name if name == "open-mode" else name.removeprefix("--").replace("-", "_")] = value
    cpus = settings.cpus_per_task
    options = {
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "cpus_per_task": cpus,
        "gpus_per_node": _gpus(resources, is_on_gpus),
        "setup": list(settings.setup) or None,
        "srun_args": None if cpus is None else [f"--cpus-per-task={cpus}"],  # no longer inherited
    }
    return {
        **{name: value for name, value in options.items() if value is not None},
        "job_name": "vlbench",
        "wckey": None,
        "time": minutes_of(resources),
        "signal_delay_s": settings.signal_seconds,
        "array_parallelism": settings.array_parallelism,
        "additional_parameters": {
            name: value for name, value in more.items() if value is not False
        },
    }


def in_words(parameters: Mapping[str, Any]) -> str:
    """The options of a refused request, as the script has them."""
    own = ("partition", "account", "qos", "constraint", "time", "cpus_per_task", "gpus_per_node")
    table = {**{name: parameters.get(name) for name in own}, **parameters["additional_parameters"]}
    return ", ".join(
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in table.items()
        if value is not None
    )


def script(parameters: Mapping[str, Any], folder: Path, count: int) -> str:
    """The script that submitit gives to sbatch for so many runs."""
    from submitit.slurm.slurm import _make_sbatch_string

    worker = f"{PYTHON} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    array: dict[str, Any] = {"map_count": count} if count > 1 else {}
    text: str = _make_sbatch_string(command=worker, folder=folder, **array, **parameters)
    return text


def environment(parameters: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The environment for sbatch: nothing of a job that we are in, nothing that overrules us.

    A variable such as SBATCH_PARTITION counts more for sbatch than a line of the script.
    """
    spoken_for = {name.upper() for name in (*parameters, *parameters["additional_parameters"])}
    spoken_for |= {"TIMELIMIT"} if parameters["time"] is not None else set()
    spoken_for |= {"MEM_PER_NODE"} if "MEM" in spoken_for else set()
    spoken_for |= {"ARRAY_INX", "OUTPUT", "ERROR", "OPEN_MODE", "SIGNAL", "NO_REQUEUE"}
    dropped = {f"SBATCH_{name}" for name in spoken_for - {"TIME"}}
    kept = outside_of_jobs(given)
    return {name: value for name, value in kept.items() if name not in dropped}


def _gpus(resources: Resources, is_on_gpus: bool) -> int | None:
    """GPUs of a job: as many as there are processes, or more where the settings say so."""
    per_node, needed = resources.slurm.gpus_per_node, resources.processes if is_on_gpus else 0
    if per_node is not None and per_node < needed:
        raise MissingError(
            f"--processes {needed}: each takes a GPU of its own, and gpus_per_node in [slurm] of "
            f"vlbench.toml is {per_node}."
        )
    return (needed if per_node is None else per_node) or None


def is_on_gpus(resources: Resources, devices: Sequence[str]) -> bool:
    """Whether jobs need GPUs, by the devices of their specs."""
    is_faked = bool(os.environ.get("VLBENCH_FAKE_GPUS")) and resources.devices != "cpu"
    return is_faked or "cuda" in devices


def submit(work: Sequence[RunJob], parameters: dict[str, Any], home: Path) -> list[str]:
    """The names of the new jobs, in order; what sbatch refuses comes with its own words."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    output = io.StringIO()  # submitit prints what it raises, too
    try:
        with _environment(environment(parameters, os.environ)), redirect_stderr(output):
            executor = submitit.SlurmExecutor(home, python=PYTHON)
            executor.update_parameters(**parameters)
            with executor.batch():
                jobs = [executor.submit(job) for job in work]
    except (FailedJobError, FailedSubmissionError) as error:
        raise MissingError(_refusal(str(error), parameters)) from None
    return [job.job_id for job in jobs]


def _refusal(reason: str, parameters: dict[str, Any]) -> str:
    lines = [line.strip().removeprefix("sbatch: error: ") for line in reason.splitlines()]
    words = "; ".join(line for line in lines if line) or "no reason given"
    config = load_config()
    files = {str(file) for key, file in config.sources.items() if key.startswith("slurm")}
    return (
        f"sbatch refused the jobs: {words}. They ask for {in_words(parameters)}. That is set by "
        f"[slurm] in {' and '.join(sorted(files)) or 'vlbench.toml'}, by --processes, "
        "--devices and --time-limit."
    )


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """This process's environment while something that takes none of its own is started."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
