"""Slots: what a machine has for one run at a time: a GPU, some of them, or a share of the CPU."""

from __future__ import annotations

import os
import re
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.cache import cache_folder, writing_cache
from vlbench.errors import MissingError, UsageError
from vlbench.running.claim import Claim, HeldError, Watch

if TYPE_CHECKING:
    from vlbench.running.launchers import Resources


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
    """Claim the slot's GPUs against other commands on this machine; None where one is taken.

    They are free again when it is closed, or this process is gone. The CPU is nobody's.
    """
    with ExitStack() as stack, writing_cache():
        try:
            for gpu in slot.gpus:
                name = re.sub(r"[^A-Za-z0-9-]", "_", f"{socket.gethostname()}-{gpu}")
                watch = _watch(cache_folder() / "devices" / name)
                if not watch.is_free():
                    return None
                stack.enter_context(watch.claim.held(slot.name, watch=watch))
        except HeldError:
            return None
        return stack.pop_all()


@cache
def _watch(folder: Path) -> Watch:
    """Of a GPU's claim; where there are no locks it knows since when the holder is silent."""
    folder.mkdir(parents=True, exist_ok=True)
    return Watch(Claim(folder))


def _name(gpus: list[str]) -> str:
    return f"GPU {gpus[0]}" if len(gpus) == 1 else f"GPUs {', '.join(gpus)}"
