"""Which faults are dealt: drawn from a seed, mixed as widely as their number allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random

from faults.damage import DAMAGES

KILLED_LAUNCHER = "SIGKILL of the launcher"
TERMINATED, INTERRUPTED = "SIGTERM of the launcher", "SIGINT of the launcher"
ONE_OF_TWO = "SIGKILL of one of two launchers"
FULL, READ_ONLY = "full disk", "results made read-only"
DISK_FAULTS = (FULL, READ_ONLY)
MOMENTS = {
    "SIGKILL of a worker in its first second": (False, 1.0),
    "SIGKILL of a worker in training": (True, 3.0),
    "SIGKILL of a worker any time": (False, 15.0),
}
"""Whether the worker must have trained, and up to how many seconds later it dies."""
ORDERS = (
    *("after,result.parquet", "before,step-*.pt", "torn,result.parquet", "before,status.json"),
    *("half,step-*.pt", "before,result.parquet", "after,vqav2.json", "half,spec.json"),
    *("after,step-*.pt", "half,nlvr2.parquet", "before,metrics.jsonl", "rmdir,checkpoint"),
    *("half,result.parquet", "unlink,step-*.pt", "after,holder.json", "after,adapter.safetensors"),
    *("before,vqav2.json", "after,vqav2.parquet", "half,status.json", "after,metrics.jsonl"),
    *("half,holder.json", "unlink,holder.json", "before,spec.json", "after,status.json"),
    "half,adapter.safetensors",
)
"""SIGKILLs at renames and removals: see inside/sitecustomize.py."""


@dataclass
class Deck:
    """What is still to be dealt."""

    moments: list[str]
    """Kills of workers from outside."""
    orders: list[str]
    """Kills at a rename or a removal."""
    commands: list[str]
    """What a whole command is started for."""
    damages: list[str]
    """What is done to files between two commands."""

    def is_empty(self) -> bool:
        """Whether everything has been dealt."""
        return not (self.moments or self.orders or self.commands or self.damages)


def draw(kills: int, random: Random) -> Deck:
    """So many kills, of launchers, at renames and at moments; the rest in proportion to them."""
    is_long = kills >= 20
    launchers = max(1, kills // 6)
    orders = _some(ORDERS, kills // 4, random)
    moments = _some(list(MOMENTS), kills - launchers - len(orders) - is_long, random)
    commands = [KILLED_LAUNCHER] * launchers + [TERMINATED, INTERRUPTED, FULL, READ_ONLY]
    if is_long:
        commands += [TERMINATED, INTERRUPTED, FULL, FULL, READ_ONLY, ONE_OF_TWO]
    random.shuffle(commands)
    damages = _some(list(DAMAGES), len(DAMAGES) * (2 if is_long else 1), random)
    return Deck(moments, orders, commands, damages)


def _some(of: Sequence[str], count: int, random: Random) -> list[str]:
    return list(islice(cycle(random.sample(of, len(of))), count))
