"""The slurm launcher: one job array for a plan; `vlbench status` follows it, as it does any run.

submitit submits it, and starts a `RunJob` in every job. What follows Slurm's warning is ours: a
job that is killed while submitit writes its pickle anew cannot start again.
"""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from vlbench.errors import MissingError, UsageError
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
    unexplained,
)
from vlbench.runs.spec import RunSpec
from vlbench.runs.watch import Progress
from vlbench.text import now, printable, results_option
from vlbench.worker import HELD

SLACK_SECONDS = 60
"""Slurm may warn a job so much earlier than `signal_seconds`, and answer so late."""
PYTHON = f"{shlex.quote(sys.executable)} -P"  # without the current folder on its path
OPEN = ("planned", "queued", "preempted", "stopped")
"""States in which a run needs a job to go on."""


class SlurmLauncher(Launcher):
    """Submits a plan to a cluster; the state of a run is in its folder, wherever it is done."""

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

    def work(self, runs: Sequence[tuple[RunSpec, RunFolder]]) -> None:
        """Submit the runs that have no job, as one array; one command does so at a time."""
        self.outcomes |= {spec.key: Outcome(spec, folder, "queued") for spec, folder in runs}
        home = _home(self.results)
        home.mkdir(parents=True, exist_ok=True)
        with Lock(home).acquire("submitting", lambda: None):
            queue = queued(_job(folder) for _, folder in runs)
            new = [
                (spec, folder)
                for spec, folder in runs
                if (state := folder.state) not in ("done", "running")
                and not (state in OPEN and _job(folder) in queue)
            ]
            if new:
                attempts = [folder.attempts() for _, folder in new]  # a job may begin at once
                names = submit([spec for spec, _ in new], self.resources, self.results)
                for (_, folder), name, begun in zip(new, names, attempts, strict=True):
                    write_job(folder, name, begun)
                array = names[0].partition("_")[0]
                self.view.say(f"{len(new)} runs submitted as Slurm job {array}")
        if len(runs) > len(new):
            self.view.say(f"{len(runs) - len(new)} runs queued or at work already")
        where = results_option(self.results)
        self.view.say(f"See: vlbench status{where}; end: vlbench cancel --all{where}")


def _job(folder: RunFolder) -> str:
    """Slurm's name for the run's job: `12_3`."""
    return str(folder.job().get("job", ""))


def _home(results: Path) -> Path:
    """Where submitit keeps scripts, pickles and what jobs print."""
    home = results.absolute() / "slurm"
    if printable(str(home)) != str(home):
        name = printable(str(results))
        raise UsageError(f"--results {name}: its path stands in scripts: no control characters.")
    return home


def request(resources: Resources, devices: Sequence[str]) -> dict[str, Any]:
    """The parameters of submitit for runs with these devices; None: the cluster decides."""
    settings, limit = resources.slurm, resources.time_limit_minutes or resources.slurm.time_minutes
    is_pretended = bool(os.environ.get("VLBENCH_FAKE_GPUS")) and resources.devices != "cpu"
    gpus = resources.processes if is_pretended or "cuda" in devices else None
    gpus = gpus if settings.gpus_per_node is None else settings.gpus_per_node
    early = settings.signal_seconds + SLACK_SECONDS
    if limit and 60 * math.ceil(limit) <= early:
        raise UsageError(
            f"A time limit of {limit} minutes is too short: Slurm warns jobs up to {early} s "
            "before it (signal_seconds in [slurm])."
        )
    from submitit.slurm import slurm

    slurm.SlurmJobEnvironment.USR_SIG = "USR2"  # which a RunJob takes, whatever a variable says
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

    worker = f"{PYTHON} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    array: dict[str, Any] = {"map_count": count} if count > 1 else {}
    return str(slurm._make_sbatch_string(command=worker, folder=folder, **array, **parameters))


def submit(specs: Sequence[RunSpec], resources: Resources, results: Path) -> list[str]:
    """The names of the new jobs, in order; what sbatch refuses comes with its own words."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    if shutil.which("sbatch") is None:
        raise MissingError("sbatch: not found on PATH. Start the command where jobs are submitted.")
    home, parameters = _home(results), request(resources, [spec.device for spec in specs])
    runs = [RunFolder.of(results, spec).path.absolute() for spec in specs]
    before = set(home.iterdir())
    output = io.StringIO()  # submitit prints what it raises, too
    try:
        with patch.dict(os.environ, outside_of_jobs(), clear=True), redirect_stderr(output):
            executor = submitit.SlurmExecutor(home, python=PYTHON)
            executor.update_parameters(**parameters)
            with executor.batch():
                jobs = [executor.submit(RunJob(run, resources.processes)) for run in runs]
    except (FailedJobError, FailedSubmissionError) as error:
        for file in set(home.iterdir()) - before:
            file.unlink(missing_ok=True)
        raise MissingError(
            f"sbatch refused the jobs: {_words(str(error))}. What they ask for stands in [slurm] "
            "of vlbench.toml; --dry-run shows it."
        ) from None
    return [job.job_id for job in jobs]


def outside_of_jobs() -> dict[str, str]:
    """This process's environment as if it were in no job, but for how to reach Slurm."""
    kept = ("SLURM_CONF", "SLURM_JWT")
    ours = ("SLURM_", "SQUEUE_", "SCANCEL_", "SBATCH_")
    return {k: value for k, value in os.environ.items() if k in kept or not k.startswith(ours)}


@dataclass
class RunJob:
    """Does one run in a job; submitit pickles it, so it holds next to nothing."""

    path: Path
    processes: int = 1

    def __call__(self) -> int:
        """Have a worker do it; requeue the job where Slurm ends it before the run is done."""
        folder = RunFolder(self.path)
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
            try:
                _ask("scontrol", "requeue", job_name())
                write_job(folder, job_name(), folder.attempts())
                text = f"requeued: Slurm job {job_name()} goes on from the last checkpoint"
            except MissingError as error:
                text = f"preempted, and not requeued: {error}"
            with suppress(OSError):
                Progress(folder.log, is_shown=False).log(text)
        elif not came and (folder.state == "queued" or not code):
            forget_job(folder, "failed", unexplained(folder, code), failure_code(code))
        sys.exit(failure_code(code))  # a failed job for Slurm, too


def job_name() -> str:
    """This job as Slurm's commands take it: `12`, or `12_3` for a task of an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def write_job(folder: RunFolder, job: str, attempts: int) -> None:
    """Say which job is to do the run, and that so many attempts began before it."""
    table: dict[str, str | int] = {"launcher": "slurm", "job": job, "submitted_at": now()}
    write_atomically(folder.job_file, json.dumps({**table, "attempts": attempts}) + "\n")


def cancel_job(folder: RunFolder) -> None:
    """Take the run's job out of the queue, where it still waits; a running one sees the file."""
    if job := _job(folder):
        _ask("scancel", "--state=PENDING", job)
        if job not in queued([job]):  # else it runs, or just began to
            forget_job(folder, "cancelled", "cancelled before it began")


def forget_job(folder: RunFolder, status: str, text: str, code: int = 0) -> None:
    """Write down how a run stands whose job is gone and did not do so itself."""
    is_open = folder.state in OPEN
    with suppress(LockedError, OSError), folder.lock.acquire():
        if is_open and not folder.is_done:
            folder.job_file.unlink(missing_ok=True)
            more = {"exit_code": code} if code else {}
            folder.write_status(status, folder.attempts(), error=text, **more)


def queued(jobs: Iterable[str]) -> set[str]:
    """Those of the jobs that Slurm still has."""
    if not (names := set(jobs) - {""}):
        return set()
    arrays = ",".join(sorted({job.partition("_")[0] for job in names}))
    text = _ask("squeue", "--noheader", "--array", "--format=%i", f"--jobs={arrays}")
    return names & set(text.split())


def _ask(*command: str) -> str:
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
