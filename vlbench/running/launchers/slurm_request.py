"""What the jobs of a plan ask Slurm for, and the script that asks for it."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.errors import MissingError, UsageError
from vlbench.printable import printable
from vlbench.running.launchers.slurm_queue import outside_of_jobs

if TYPE_CHECKING:
    from vlbench.running.launchers import Resources

SIGNAL_SLACK_SECONDS = 60
"""Slurm may warn a job so much earlier than it was asked to."""
PYTHON = f"{shlex.quote(sys.executable)} -P"
"""How jobs start Python: without the current folder on its path."""


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
    """The same as submitit's parameters."""
    settings = resources.slurm
    more: dict[str, Any] = {"requeue": True}
    if settings.memory_gb is not None:
        more["mem"] = f"{math.ceil(1024 * settings.memory_gb)}M"
    more |= {_parameter(name): each for name, each in settings.extra.items()}
    cpus = settings.cpus_per_task
    asked = {
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
        **{name: each for name, each in asked.items() if each is not None},
        "job_name": "vlbench",
        "wckey": None,
        "time": minutes_of(resources),
        "signal_delay_s": settings.signal_seconds,
        "array_parallelism": settings.array_parallelism,
        "additional_parameters": {name: each for name, each in more.items() if each is not False},
    }


def in_words(asked: Mapping[str, Any]) -> str:
    """What a refused request asked for, as the script has it."""
    own = ("partition", "account", "qos", "constraint", "time", "cpus_per_task", "gpus_per_node")
    more = asked["additional_parameters"]
    table = {**{name: asked.get(name) for name in own}, **more}
    return ", ".join(
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in table.items()
        if value is not None
    )


def script(asked: Mapping[str, Any], folder: Path, count: int) -> str:
    """The script that submitit gives to sbatch for so many runs."""
    from submitit.slurm.slurm import _make_sbatch_string

    worker = f"{PYTHON} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    array: dict[str, Any] = {"map_count": count} if count > 1 else {}
    text: str = _make_sbatch_string(command=worker, folder=folder, **array, **asked)
    return text


def environment(asked: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The environment for sbatch: nothing of a job that we are in, nothing that overrules us.

    A variable such as SBATCH_PARTITION counts more for sbatch than a line of the script.
    """
    spoken_for = {name.upper() for name in (*asked, *asked["additional_parameters"])}
    spoken_for |= {"TIMELIMIT"} if asked["time"] is not None else set()
    spoken_for |= {"MEM_PER_NODE"} if "MEM" in spoken_for else set()
    spoken_for |= {"ARRAY_INX", "OUTPUT", "ERROR", "OPEN_MODE", "SIGNAL", "NO_REQUEUE"}
    dropped = {f"SBATCH_{name}" for name in spoken_for - {"TIME"}}
    found = outside_of_jobs(given)
    return {name: value for name, value in found.items() if name not in dropped}


def _gpus(resources: Resources, is_on_gpus: bool) -> int | None:
    """GPUs of a job: as many as there are processes, or more where the settings say so."""
    said, needed = resources.slurm.gpus_per_node, resources.processes if is_on_gpus else 0
    if said is not None and said < needed:
        raise MissingError(
            f"--processes {needed}: each takes a GPU of its own, and gpus_per_node in [slurm] of "
            f"vlbench.toml is {said}."
        )
    return (needed if said is None else said) or None


def _parameter(name: str) -> str:
    """An option of sbatch as submitit spells it, so that it takes the place of ours."""
    return name if name == "open-mode" else re.sub("-", "_", name.removeprefix("--"))


def is_on_gpus(resources: Resources, devices: Sequence[str]) -> bool:
    """Whether jobs need GPUs, by the devices of their specs."""
    is_faked = bool(os.environ.get("VLBENCH_FAKE_GPUS")) and resources.devices != "cpu"
    return is_faked or "cuda" in devices
