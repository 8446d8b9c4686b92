"""What happens to files while nobody looks: cut, flipped, emptied, torn, from another time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

DAYS = 24 * 3600.0


def cut_in_half(file: Path, random: Random) -> None:
    """Remove the second half."""
    os.truncate(file, file.stat().st_size // 2)


def flip_a_byte(file: Path, random: Random) -> None:
    """Change one bit."""
    content = bytearray(file.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def empty(file: Path, random: Random) -> None:
    """Remove everything."""
    os.truncate(file, 0)


def tear(file: Path, random: Random) -> None:
    """End a JSON file in its middle; add a part of a line to a list of lines."""
    content = file.read_bytes()
    if file.suffix == ".json":
        os.truncate(file, random.randrange(1, len(content) - 1))
        return
    last = content.splitlines()[-1]
    with file.open("ab") as lines:
        lines.write(last[: random.randrange(1, len(last) - 1)])


def shift_times(run: Path, random: Random) -> None:
    """Date every file of a run to the future or the past."""
    for file in [run, *run.rglob("*")]:
        at = time.time() + random.choice([-1, 1]) * random.uniform(1, 300) * DAYS
        os.utime(file, (at, at))


DAMAGES: dict[str, tuple[str, Callable[[Path, Random], None]]] = {
    "checkpoint cut in half": ("checkpoint/step-*.pt", cut_in_half),
    "checkpoint with a flipped byte": ("checkpoint/step-*.pt", flip_a_byte),
    "checkpoint of length zero": ("checkpoint/step-*.pt", empty),
    "torn status.json": ("status.json", tear),
    "torn attempts.jsonl": ("attempts.jsonl", tear),
    "torn metrics.jsonl": ("metrics.jsonl", tear),
    "files from the future and the past": (".", shift_times),
}
"""Which file of a run, the last of several, and what is done to it."""
