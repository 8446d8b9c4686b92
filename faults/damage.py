"""What happens to files while nobody looks: cut, flipped, emptied, torn, from another time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

DAYS = 24 * 3600.0


def cut_in_half(file: Path, random: Random) -> None:
    """The second half is gone."""
    os.truncate(file, file.stat().st_size // 2)


def flip_a_byte(file: Path, random: Random) -> None:
    """One byte in the middle is another one."""
    content = bytearray(file.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def empty(file: Path, random: Random) -> None:
    """There is nothing left."""
    os.truncate(file, 0)


def tear(file: Path, random: Random) -> None:
    """A JSON file ends in its middle; a line is added to a list of lines, but not all of it."""
    content = file.read_bytes()
    if file.suffix == ".json":
        os.truncate(file, random.randrange(1, len(content) - 1))
        return
    last = content.splitlines()[-1]
    with file.open("ab") as lines:
        lines.write(last[: random.randrange(1, len(last) - 1)])


def shift_times(run: Path, random: Random) -> None:
    """Every file of a run is from the future or from the past."""
    for file in [run, *run.rglob("*")]:
        at = time.time() + random.choice([-1, 1]) * random.uniform(1, 300) * DAYS
        os.utime(file, (at, at))


def newest_checkpoint(run: Path) -> Path | None:
    """The one a worker goes on from."""
    files = sorted((run / "checkpoint").glob("step-*.pt"))
    return files[-1] if files else None


CHECKPOINT_DAMAGES = {
    "checkpoint cut in half": cut_in_half,
    "checkpoint with a flipped byte": flip_a_byte,
    "checkpoint of length zero": empty,
}
TORN = {
    "torn status.json": "status.json",
    "torn attempts.jsonl": "attempts.jsonl",
    "torn metrics.jsonl": "metrics.jsonl",
}
SHIFTED = "files from the future and the past"
DAMAGES = (*CHECKPOINT_DAMAGES, *TORN, SHIFTED)
