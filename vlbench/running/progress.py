"""What a worker says: lines for the run's log, and for whoever started it by hand."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.files import require_writable

if TYPE_CHECKING:
    from vlbench.training.train import Step

LINE_SECONDS = 10.0
"""A training step has a line at most this often."""


class Progress:
    """Plain lines in the log, on stderr too where they are shown."""

    def __init__(self, log: Path | None, is_shown: bool = True) -> None:
        self._file = log
        self._is_shown = is_shown
        self._last = -LINE_SECONDS

    def say(self, text: str) -> None:
        """One line about what happens now."""
        self.log(text)
        if self._is_shown:
            print(text, file=sys.stderr, flush=True)

    def step(self, step: Step) -> None:
        """One training step."""
        if time.monotonic() - self._last >= LINE_SECONDS or step.number in (1, step.total):
            self._last = time.monotonic()
            self.say(describe(step))

    def log(self, text: str) -> None:
        """A line for the run's log alone."""
        if self._file is not None:
            require_writable(self._file)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")


def describe(step: Step) -> str:
    """A step as one line."""
    return (
        f"step {step.number}/{step.total}  epoch {step.epoch}  {step.task}  loss {step.loss:.3f}  "
        f"lr {step.learning_rate:.2e}  {step.examples_per_second:.0f} examples/s  "
        f"eta {step.seconds_left:.0f} s"
    )
