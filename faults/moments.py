"""When a worker is killed: at once, while it trains, writes a checkpoint, validates or tests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from faults.damage import newest_checkpoint
from faults.losses import Loss
from faults.processes import Worker


class Aim:
    """Waits for its moment in the life of one worker."""

    def __init__(
        self,
        moment: str,
        worker: Worker,
        random: Random,
        steps_per_epoch: int,
        status: Callable[[Path], dict[str, object]],
    ) -> None:
        self.moment = moment
        self.worker = worker
        self.status = status
        self.steps_per_epoch = steps_per_epoch
        self.is_dealt = False
        self._is_there = MOMENTS[moment][0]
        self._delay = random.uniform(0, MOMENTS[moment][1])
        self._since: float | None = None

    def is_now(self) -> bool:
        """Whether the moment, and a random while after it, has come."""
        if self._since is None and self._is_there(self):
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() - self._since >= self._delay

    def deal(self) -> None:
        """Kill the worker."""
        self.worker.kill()
        self.is_dealt = True

    def has_trained(self) -> bool:
        """Whether this very attempt has made a step."""
        status = self.status(self.worker.run)
        return status.get("pid") == self.worker.pid and status.get("phase") == "training"

    def is_writing_checkpoint(self) -> bool:
        """Whether one is there that has no name yet."""
        folder = self.worker.run / "checkpoint"
        return any(folder.glob(".step*.tmp")) and self.worker.has_begun

    def is_validating(self) -> bool:
        """Whether an epoch has its checkpoint, but not its validation."""
        newest = newest_checkpoint(self.worker.run)
        step = re.search(r"step-(\d+)", newest.name if newest else "")
        if step is None or not self.has_trained():
            return False
        epoch, rest = divmod(int(step[1]), self.steps_per_epoch)
        curve = self.worker.run / "metrics.jsonl"
        return not rest and f'"epoch": {epoch}, "validation"' not in curve.read_text("utf-8")

    def is_testing(self) -> bool:
        """Whether it has trained to the end."""
        run = self.worker.run
        return (run / "adapter.safetensors").is_file() and not (run / "result.parquet").is_file()


def read_status(run: Path) -> dict[str, object]:
    """What status.json says at this moment; it may be absent, never a part."""
    try:
        text = (run / "status.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        found: dict[str, object] = json.loads(text)
    except ValueError:
        raise Loss(f"{run / 'status.json'}: partial: {text!r}") from None
    return found


IN_TRAINING = "SIGKILL of a worker in training"
MOMENTS: dict[str, tuple[Callable[[Aim], bool], float]] = {
    "SIGKILL of a worker in its first second": (lambda aim: True, 1.0),
    IN_TRAINING: (Aim.has_trained, 3.0),
    "SIGKILL of a worker while it writes a checkpoint": (Aim.is_writing_checkpoint, 0.0),
    "SIGKILL of a worker in validation": (Aim.is_validating, 0.05),
    "SIGKILL of a worker while it tests": (Aim.is_testing, 0.2),
    "SIGKILL of a worker any time": (lambda aim: True, 15.0),
}
"""What it is called -> how it is known, and up to how many seconds later it comes."""
