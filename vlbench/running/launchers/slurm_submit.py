"""Hands jobs to sbatch through submitit, and puts what sbatch refuses into words."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from vlbench.config import load_config
from vlbench.errors import MissingError
from vlbench.running.launchers.slurm_job import RunJob
from vlbench.running.launchers.slurm_request import PYTHON, environment, in_words


def submit(work: Sequence[RunJob], asked: dict[str, Any], home: Path) -> list[str]:
    """The names of the new jobs, in order; what sbatch refuses comes with its own words."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    said = io.StringIO()  # submitit prints what it raises, too
    try:
        with _environment(environment(asked, os.environ)), redirect_stderr(said):
            executor = submitit.SlurmExecutor(home, python=PYTHON)
            executor.update_parameters(**asked)
            with executor.batch():
                jobs = [executor.submit(each) for each in work]
    except (FailedJobError, FailedSubmissionError) as error:
        raise MissingError(_refusal(str(error), asked)) from None
    return [job.job_id for job in jobs]


def _refusal(said: str, asked: dict[str, Any]) -> str:
    lines = [line.strip().removeprefix("sbatch: error: ") for line in said.splitlines()]
    words = "; ".join(line for line in lines if line) or "no reason given"
    config = load_config()
    files = {str(file) for key, file in config.sources.items() if key.startswith("slurm")}
    return (
        f"sbatch refused the jobs: {words}. They ask for {in_words(asked)}. That is set by "
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
