"""How a run shows its progress: bars on a terminal, plain lines elsewhere, and its log."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlbench.training.trainer import Step

LINE_SECONDS = 10.0
"""Off a terminal a line of progress at most this often."""


class Progress:
    """Plain lines; each also goes to the run's log."""

    def __init__(self, log: Path | None) -> None:
        self._file = log
        self._last = 0.0

    def say(self, text: str) -> None:
        """One line about what happens now."""
        self.log(text)
        print(text, file=sys.stderr, flush=True)

    def step(self, step: Step) -> None:
        """One training step."""
        if time.monotonic() - self._last >= LINE_SECONDS or step.number in (1, step.total):
            self._last = time.monotonic()
            self.say(describe(step))

    def close(self) -> None:
        """Nothing more comes."""

    def log(self, text: str) -> None:
        """A line for the run's log alone."""
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")


class BarProgress(Progress):
    """A bar with loss, speed and remaining time under the lines."""

    def __init__(self, log: Path | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        super().__init__(log)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  lr {task.fields[rate]:.1e}"),
            TextColumn("{task.fields[speed]:.0f} examples/s"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar: Any = None
        self._loss = 0.0

    def say(self, text: str) -> None:
        """One line above the bar."""
        self.log(text)
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, step: Step) -> None:
        """Move the bar; the loss it shows is smoothed over tasks and steps."""
        self._loss = step.loss if self._bar is None else 0.95 * self._loss + 0.05 * step.loss
        if self._bar is None:
            self._bars.start()
            self._bar = self._bars.add_task(
                "training", total=step.total, loss=0.0, speed=0.0, rate=0.0
            )
        self._bars.update(
            self._bar,
            completed=step.number,
            description=f"epoch {step.epoch}",
            loss=self._loss,
            speed=step.examples_per_second,
            rate=step.learning_rate,
        )
        if time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self.log(describe(step))
        if step.number == step.total:
            self._bars.stop()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()


def describe(step: Step) -> str:
    """A step as one line."""
    return (
        f"step {step.number}/{step.total}  epoch {step.epoch}  {step.task}  loss {step.loss:.3f}  "
        f"lr {step.learning_rate:.2e}  {step.examples_per_second:.0f} examples/s  "
        f"eta {step.seconds_left:.0f} s"
    )


def new_progress(log: Path | None) -> Progress:
    """Bars where stderr is a terminal, plain lines elsewhere."""
    return BarProgress(log) if sys.stderr.isatty() else Progress(log)
