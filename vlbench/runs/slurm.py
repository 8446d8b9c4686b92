"""The slurm launcher: one job array for a plan, followed through the folders of its runs.

submitit submits it, and starts a `RunJob` in every job. What follows Slurm's warning is ours: a
job that is killed while submitit writes its pickle anew cannot start again.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from vlbench.config import load_config
from vlbench.errors import MissingError, RunFailed, UsageError
from vlbench.files import write_atomically
from vlbench.lock import Lock, LockedError
from vlbench.process import worker_environment
from vlbench.runs.folder import RunFolder
from vlbench.runs.launch import (
    Launcher,
    Outcome,
    Resources,
    WorkerProcess,
    failure_code,
    outcome_of,
    unexplained,
)
from vlbench.runs.spec import RunSpec
from vlbench.runs.watch import Progress
from vlbench.text import format_duration, now, printable, results_option
from vlbench.worker import HELD

if TYPE_CHECKING:
    from vlbench.runs.watch import View

LOOK_SECONDS, QUEUE_SECONDS = 1.0, 15.0
"""Between looks at folders, and between questions to squeue, which a whole cluster asks."""
LOST_SECONDS = 75.0
"""A run whose job is gone for so long is lost; shared folders may show its end only after 60 s."""
IDLE_ATTEMPTS, IDLE_SECONDS = 3, 1200.0
"""A run that so often had so long, or half of its time, and kept nothing new is given up."""
SLACK_SECONDS = 60
"""Slurm may warn a job so much earlier than `signal_seconds`, and answer so late."""
PYTHON = f"{shlex.quote(sys.executable)} -P"  # without the current folder on its path
OPEN = ("planned", "queued", "preempted", "stopped")
"""States in which a run needs a job to go on."""
NEVER = {
    **{"PartitionTimeLimit": "time_minutes", "PartitionNodeLimit": "partition, gpus_per_node"},
    **{"PartitionDown": "partition", "PartitionInactive": "partition", "InvalidQOS": "qos"},
    **{"ReqNodeNotAvail": "partition, constraint", "InvalidAccount": "account"},
    **{"AccountNotAllowed": "account, partition", "QOSNotAllowed": "qos, partition"},
    **{"BadConstraints": "constraint, memory_gb, gpus_per_node"},
    **{"DependencyNeverSatisfied": "extra", "JobHeldUser": "scontrol release"},
    **{"JobHeldAdmin": "scontrol release", "JobHoldMaxRequeue": "scontrol release"},
    **{"launch failed requeued held": "scontrol release"},
}
"""Reasons of squeue for which a job waits until somebody changes one of these."""


@dataclass
class Job:
    """A run of the plan that a job, or another command, is to do."""

    spec: RunSpec
    folder: RunFolder
    name: str = ""
    """Slurm's name for it: `12_3`."""
    attempt: int = -1
    """The attempt that the view shows."""
    seen_at: float = field(default_factory=time.monotonic)


class SlurmLauncher(Launcher):
    """Runs a plan on a cluster; the state of a run is in its folder, wherever it is done."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources)
        if resources.devices not in ("auto", "cpu") or resources.jobs > 1:
            raise UsageError(
                f"--devices {resources.devices} --jobs {resources.jobs}: Slurm hands out the GPUs, "
                "so --devices should be auto or cpu; array_parallelism in [slurm] limits the jobs."
            )
        is_pretended = bool(os.environ.get("VLBENCH_FAKE_GPUS"))
        has_none = resources.devices == "cpu" or resources.slurm.gpus_per_node == 0
        self.device = "cpu" if has_none or is_pretended else "cuda"  # whatever is here

    def dry_run(self, specs: Sequence[RunSpec], results: Path) -> str:
        runs = [(spec, RunFolder.of(results, spec)) for spec in specs]
        to_do = [run for run in runs if run[1].state not in ("done", "running", "queued")]
        if not to_do:
            return "# nothing to submit: every run is done, at work or queued"
        parameters = request(self.resources, [spec.device for spec, _ in to_do])
        lines = [script(parameters, _home(results), len(to_do))]
        for number, (spec, folder) in enumerate(to_do):
            lines.append(printable(f"# task {number}: {spec.name}, {folder.path.absolute()}"))
        return "\n".join(lines)

    def run(self, specs: Sequence[RunSpec], results: Path, view: View) -> list[Outcome]:
        commands = ("sbatch", "srun", "squeue", "scancel", "scontrol")
        if absent := [name for name in commands if shutil.which(name) is None]:
            raise MissingError(
                f"--launcher slurm: not found on PATH: {', '.join(absent)}. Start the command "
                "where jobs can be submitted, or use --launcher local."
            )
        _home(results)  # refused before anything is written
        return super().run(specs, results, view)

    def work(self, runs: Sequence[tuple[RunSpec, RunFolder]]) -> None:
        self.jobs = [Job(*run) for run in runs]
        self._submit(self.jobs)
        if self.resources.detach:
            self.outcomes |= {spec.key: Outcome(spec, folder, "queued") for spec, folder in runs}
            return
        queried = time.monotonic()
        try:
            while self.jobs:
                if time.monotonic() - queried >= QUEUE_SECONDS:
                    self._ask_queue()
                    queried = time.monotonic()
                for job in list(self.jobs):
                    if outcome := self._look(job):
                        self.jobs.remove(job)
                        self.end(outcome)
                self.view.tick()
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            where = results_option(self.results)
            self.view.say(
                f"{_runs(len(self.jobs))} left to Slurm, whatever becomes of this command. "
                f"See: vlbench status{where}; end: vlbench cancel --all{where}"
            )
            raise

    def _submit(self, jobs: Sequence[Job]) -> None:
        """Submit the runs that have no job; one command does so at a time."""
        home, text = _home(self.results), "another command submits jobs: waiting"
        home.mkdir(parents=True, exist_ok=True)
        lock, is_over = Lock(home), not jobs
        while not is_over:  # LockedError: without flock, another command was faster
            with suppress(LockedError), lock.acquire("submitting", lambda: self.view.say(text)):
                self._submit_new(jobs)
                is_over = True

    def _submit_new(self, jobs: Sequence[Job]) -> None:
        names = [str(job.folder.job().get("job", "")) for job in jobs]
        queue = look(filter(None, names))
        new = []
        for job, name in zip(jobs, names, strict=True):
            job.name = name if name in queue else ""
            state = job.folder.state
            if state not in ("done", "running") and not (state in OPEN and job.name):
                new.append(job)
        if new:
            attempts = [job.folder.attempts() for job in new]  # a job may begin at once
            names = submit([job.spec for job in new], self.resources, self.results)
            for job, name, begun in zip(new, names, attempts, strict=True):
                job.name, job.seen_at = name, time.monotonic()
                write_job(job.folder, name, begun)
            array = names[0].partition("_")[0]
            self.view.say(f"{_runs(len(new))} submitted as Slurm job {array}")
        if len(jobs) > len(new):
            self.view.say(f"{_runs(len(jobs) - len(new))} queued or at work already")

    def _ask_queue(self) -> None:
        try:
            queue = look(job.name for job in self.jobs if job.name)
        except MissingError as error:  # its daemon may restart
            self.say_once(f"{error}: asking again")
            queue = {job.name: "" for job in self.jobs}
        for job in self.jobs:
            if job.name in queue:
                job.seen_at = time.monotonic()
                if reason := queue[job.name]:
                    array = job.name.partition("_")[0]
                    self.say_once(f"Slurm job {array} cannot start as it is. {reason}")

    def _look(self, job: Job) -> Outcome | None:
        """Show a run at work; the outcome of one that has ended, or was lost."""
        folder, state = job.folder, job.folder.state
        if state == "running":
            job.seen_at = time.monotonic()
            if job.attempt != (attempt := folder.attempts()):
                where = str(folder.lock.holder().get("where", ""))
                self.view.began(job.spec, folder, where or "held by another command")
                job.attempt = attempt
        elif state not in OPEN:
            return outcome_of(job.spec, folder)
        elif not job.name:  # another command did it and left
            self._submit([job])
        elif time.monotonic() - job.seen_at > LOST_SECONDS:
            why = "it was cancelled, or could not start"
            if state in ("preempted", "stopped"):
                why = str(folder.status().get("error") or state)
            files = f"{_home(self.results)}/{job.name}_*.err"
            text = f"{why}; Slurm job {job.name} is gone from the queue, see {files}"
            ended = state if state == "preempted" else "stopped"
            forget_job(folder, ended, text, RunFailed.exit_code)
            return Outcome(job.spec, folder, ended, RunFailed.exit_code, text)
        return None


def _home(results: Path) -> Path:
    """Where submitit keeps scripts, pickles and what jobs print."""
    home = results.absolute() / "slurm"
    if printable(str(home)) != str(home):
        name = printable(str(results))
        raise UsageError(f"--results {name}: its path stands in scripts: no control characters.")
    return home


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def request(resources: Resources, devices: Sequence[str]) -> dict[str, Any]:
    """The parameters of submitit for runs with these devices; None: the cluster decides."""
    settings, limit = resources.slurm, resources.time_limit_minutes or resources.slurm.time_minutes
    is_pretended = bool(os.environ.get("VLBENCH_FAKE_GPUS")) and resources.devices != "cpu"
    needed = resources.processes if is_pretended or "cuda" in devices else 0
    gpus = needed if settings.gpus_per_node is None else settings.gpus_per_node
    if gpus < needed:
        raise MissingError(
            f"--processes {needed}: each takes a GPU, and gpus_per_node in [slurm] is {gpus}."
        )
    if limit and 60 * math.ceil(limit) <= settings.signal_seconds + SLACK_SECONDS:
        raise UsageError(
            f"A time limit of {limit} minutes is too short: Slurm warns jobs up to "
            f"{settings.signal_seconds + SLACK_SECONDS} s before it (signal_seconds in [slurm])."
        )
    more: dict[str, Any] = {"requeue": True}
    if settings.memory_gb is not None:
        more["mem"] = f"{math.ceil(1024 * settings.memory_gb)}M"
    for name, value in settings.extra.items():  # spelt as submitit does, to replace our own
        more[name if name == "open-mode" else name.removeprefix("--").replace("-", "_")] = value
    cpus = settings.cpus_per_task
    return {
        "job_name": "vlbench",
        "wckey": None,
        **settings.model_dump(include={"partition", "account", "qos", "constraint"}),
        "time": math.ceil(limit) if limit else None,
        "cpus_per_task": cpus,
        "srun_args": cpus and [f"--cpus-per-task={cpus}"],  # no longer inherited
        "gpus_per_node": gpus or None,
        "setup": list(settings.setup) or None,
        "signal_delay_s": settings.signal_seconds,
        "array_parallelism": settings.array_parallelism,
        "additional_parameters": {k: value for k, value in more.items() if value is not False},
    }


def script(parameters: Mapping[str, Any], folder: Path, count: int) -> str:
    """The script that submitit gives to sbatch for so many runs."""
    from submitit.slurm import slurm

    slurm.SlurmJobEnvironment.USR_SIG = "USR2"  # which a RunJob takes, whatever a variable says
    worker = f"{PYTHON} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    array: dict[str, Any] = {"map_count": count} if count > 1 else {}
    return str(slurm._make_sbatch_string(command=worker, folder=folder, **array, **parameters))


def submit(specs: Sequence[RunSpec], resources: Resources, results: Path) -> list[str]:
    """The names of the new jobs, in order; what sbatch refuses comes with its own words."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    home, parameters = _home(results), request(resources, [spec.device for spec in specs])
    lines, before = script(parameters, home, len(specs)).splitlines(), set(home.iterdir())
    paths = [RunFolder.of(results, spec).path.absolute() for spec in specs]
    early = resources.slurm.signal_seconds + SLACK_SECONDS
    seconds = 60 * parameters["time"] - early if parameters["time"] else None
    output = io.StringIO()  # submitit prints what it raises, too
    try:
        with patch.dict(os.environ, environment(parameters), clear=True), redirect_stderr(output):
            executor = submitit.SlurmExecutor(home, python=PYTHON)
            executor.update_parameters(**parameters)
            with executor.batch():
                jobs = [
                    executor.submit(RunJob(path, resources.processes, seconds)) for path in paths
                ]
    except (FailedJobError, FailedSubmissionError) as error:
        for file in set(home.iterdir()) - before:
            file.unlink(missing_ok=True)
        ours = re.compile("#SBATCH --(?!array|error|job-name|nodes=|open-mode|output|signal)")
        options = [line.removeprefix("#SBATCH ") for line in lines if ours.match(line)]
        raise MissingError(
            f"sbatch refused the jobs: {_words(str(error))}. They ask for {', '.join(options)}. "
            f"That is set by [slurm] in {load_config().file or 'vlbench.toml'}, by --processes, "
            "--devices and --time-limit."
        ) from None
    return [job.job_id for job in jobs]


def environment(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The environment for sbatch: of no enclosing job, nor variables that overrule the script."""
    given = {**parameters, **parameters["additional_parameters"]}
    spelt = {"time": "TIMELIMIT", "mem": "MEM_PER_NODE"}
    names = {spelt.get(name, name.upper()) for name, value in given.items() if value is not None}
    names |= {"ARRAY_INX", "OUTPUT", "ERROR", "OPEN_MODE", "SIGNAL", "REQUEUE", "NO_REQUEUE"}
    dropped = {f"SBATCH_{name}" for name in names} | {"SUBMITIT_PREEMPT_SIGNAL"}
    return {name: value for name, value in outside_of_jobs().items() if name not in dropped}


def outside_of_jobs() -> dict[str, str]:
    """This process's environment as if it were in no job, but for how to reach Slurm."""
    kept, ours = ("SLURM_CONF", "SLURM_JWT"), ("SLURM_", "SQUEUE_", "SCANCEL_")
    return {k: value for k, value in os.environ.items() if k in kept or not k.startswith(ours)}


@dataclass
class RunJob:
    """Does one run in a job; submitit pickles it, so it holds next to nothing."""

    path: Path
    processes: int = 1
    seconds: float | None = None

    def __call__(self) -> int:
        """Have a worker do it; requeue the job where Slurm ends it before the run is done."""
        folder, began = RunFolder(self.path), time.monotonic()
        kept = _kept(folder)
        came: set[int] = set()
        cpus = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE", "1")
        threads = max(1, min(int(cpus), len(os.sched_getaffinity(0))) // self.processes)
        # Slurm warns every process of a job: it is held back in those that are started here
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        where, environment = f"slurm {job_name()}", worker_environment(threads)
        worker = WorkerProcess(folder, where, environment, self.processes)
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, lambda number, frame: came.add(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        while (code := worker.poll()) is None:
            if came == {signal.SIGUSR2}:  # SIGTERM goes to the worker too
                worker.stop("preempted")
            time.sleep(0.1)
        if folder.is_done or code == HELD:
            return code
        if signal.SIGUSR2 in came and folder.state in OPEN:
            self._go_on(folder, _kept(folder) == kept, time.monotonic() - began)
        elif not came and (folder.state == "queued" or not code):
            forget_job(folder, "failed", unexplained(folder, code), failure_code(code))
        sys.exit(failure_code(code))  # a failed job for Slurm, too

    def _go_on(self, folder: RunFolder, is_idle: bool, seconds: float) -> None:
        """Have Slurm start this job again, unless that gets it nowhere."""
        enough = self.seconds / 2 if self.seconds else IDLE_SECONDS
        idle = int(folder.job().get("idle", 0))
        idle = (idle + 1 if seconds >= enough else idle) if is_idle else 0
        if idle >= IDLE_ATTEMPTS:
            text = (
                f"timeout: {IDLE_ATTEMPTS} attempts, the last of {format_duration(seconds)}, kept "
                "nothing new: it needs a longer time limit (time_minutes in [slurm])"
            )
            forget_job(folder, "timeout", text, RunFailed.exit_code)
        else:
            try:
                _ask("scontrol", "requeue", job_name())
                write_job(folder, job_name(), folder.attempts(), idle)
                text = f"requeued: Slurm job {job_name()} goes on from the last checkpoint"
            except MissingError as error:
                text = f"preempted, and not requeued: {error}"
        with suppress(OSError):
            Progress(folder.log, is_shown=False).log(text)


def job_name() -> str:
    """This job as Slurm's commands take it: `12`, or `12_3` for a task of an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def _kept(folder: RunFolder) -> set[str]:
    return {file.name for file in folder.checkpoints.folder.rglob("[!.]*.*")}


def write_job(folder: RunFolder, job: str, attempts: int, idle: int = 0) -> None:
    """Say which job is to do the run, and that so many attempts began before it."""
    table: dict[str, str | int] = {"launcher": "slurm", "job": job, "submitted_at": now()}
    table |= {"attempts": attempts, "idle": idle}
    write_atomically(folder.job_file, json.dumps(table) + "\n")


def cancel_job(folder: RunFolder) -> None:
    """Take the run's job out of the queue, where it still waits; a running one sees the file."""
    if job := str(folder.job().get("job", "")):
        _ask("scancel", "--state=PENDING", job)
        if job not in look([job]):  # else it runs, or just began to
            forget_job(folder, "cancelled", "cancelled before it began")


def forget_job(folder: RunFolder, status: str, text: str, code: int = 0) -> None:
    """Write down how a run stands whose job is gone and did not do so itself."""
    is_open = folder.state in OPEN
    with suppress(LockedError, OSError), folder.lock.acquire():
        if is_open and not folder.is_done:
            folder.job_file.unlink(missing_ok=True)
            more = {"exit_code": code} if code else {}
            folder.write_status(status, folder.attempts(), error=text, **more)


def look(jobs: Iterable[str]) -> dict[str, str]:
    """Those of the jobs that Slurm still has, with what keeps one from ever starting, if so."""
    names = set(jobs)
    if not names:
        return {}
    arrays = ",".join(sorted({job.partition("_")[0] for job in names}))
    text = _ask("squeue", "--noheader", "--array", "--format=%i|%r", f"--jobs={arrays}")
    queue = {}
    for job, _, reason in (line.strip().partition("|") for line in text.splitlines()):
        if job in names:
            remedy = NEVER.get(reason.split(",")[0].strip("()"), "")
            queue[job] = remedy and f"{reason}: change {remedy}"
    return queue


def _ask(*command: str) -> str:
    """What one of Slurm's commands prints; nothing for a job that Slurm has forgotten."""
    environment = {**outside_of_jobs(), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SLACK_SECONDS, env=environment
        )
        if not done.returncode or "Invalid job id" in done.stderr:
            return done.stdout
        error = _words(done.stderr)
    except FileNotFoundError:
        error = "not found on PATH"
    except subprocess.TimeoutExpired:
        error = f"no answer in {SLACK_SECONDS} s"
    raise MissingError(f"{command[0]} {command[-1]}: {error}")


def _words(text: str) -> str:
    lines = [line.strip().removeprefix("sbatch: error: ") for line in text.splitlines()]
    return "; ".join(filter(None, lines)) or "no reason given"
