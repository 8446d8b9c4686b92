"""Progress of runs: the lines of their logs, bars on a terminal."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from vlbench.files import require_writable
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.text import format_duration

if TYPE_CHECKING:
    from vlbench.training.train import Step

LINE_SECONDS = 10.0
"""A training step has a line in the log at most this often."""
TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")
STEP = re.compile(r"step \d")
DONE = "done"
"""A log's last line where all went well; views say it in words of their own."""
LABELS = {"left": "eta {}", "loss": "loss {}", "rate": "{} ex/s"}
"""How the texts of `progress_texts` stand behind a bar."""


class Progress:
    """Writes a worker's lines to the run's log, and to stderr where they are shown."""

    def __init__(self, log: Path | None, is_shown: bool = True) -> None:
        self._file = log
        self._is_shown = is_shown
        self._last = -LINE_SECONDS

    def say(self, text: str) -> None:
        """Write one line about what happens now."""
        self.log(text)
        if self._is_shown:
            print(text, file=sys.stderr, flush=True)

    def step(self, step: Step) -> None:
        """Write one training step, unless another one was written a moment ago."""
        if time.monotonic() - self._last >= LINE_SECONDS or step.number in (1, step.total):
            self._last = time.monotonic()
            self.say(
                f"step {step.number}/{step.total}  epoch {step.epoch}  {step.task}  "
                f"loss {step.loss:.3f}  lr {step.learning_rate:.2e}  "
                f"{step.examples_per_second:.0f} examples/s  eta {step.seconds_left:.0f} s"
            )

    def log(self, text: str) -> None:
        """Write a line to the run's log alone."""
        if self._file is not None:
            require_writable(self._file)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")


class Tail:
    """The new lines of a log, once they are whole."""

    def __init__(self, file: Path, is_whole: bool = False) -> None:
        self.file = file
        self._offset = 0 if is_whole or not file.is_file() else file.stat().st_size
        self._part = b""

    def lines(self, is_over: bool = False) -> list[str]:
        """The whole lines since the last call; once it `is_over`, a last one that is not, too."""
        text = b""
        with suppress(FileNotFoundError), self.file.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        self._offset += len(text)
        *whole, self._part = (self._part + text).split(b"\n")
        whole += [self._part] if is_over and self._part else []
        return [line.decode(errors="replace").rstrip("\r") for line in whole]


def without_time(line: str) -> str:
    """A line of the log without its time; a process's raw output has none."""
    return TIME.sub("", line)


def progress_texts(status: Mapping[str, Any]) -> dict[str, str]:
    """The progress of a run at work as texts: phase, and where known step, loss, rate, left."""
    texts = {"phase": str(status.get("phase") or "starting")}
    if status.get("total"):
        texts["step"] = f"{status.get('step') or 0:,}/{status['total']:,}"
    if texts["phase"] != "training":
        return texts
    if status.get("epoch") is not None:
        texts["phase"] = f"epoch {status['epoch']}"
    for name, key, spell in (
        ("left", "seconds_left", format_duration),
        ("loss", "loss", "{:.3f}".format),
        ("rate", "examples_per_second", "{:,.0f}".format),
    ):
        if status.get(key) is not None:
            texts[name] = spell(status[key])
    return texts


def new_view(total: int) -> View:
    """The view of a plan with `total` runs to do: bars on a terminal, lines elsewhere."""
    console = Console(file=sys.stderr, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return BarsView(total, console)
    return View(total)


class View:
    """Shows a plan as plain lines: those of its runs' logs, with their names where several run."""

    def __init__(self, total: int = 1) -> None:
        self._total = total
        self._tails: dict[Path, tuple[str, Tail]] = {}
        self._ended = 0

    def say(self, text: str) -> None:
        """Show a line about the plan."""
        print(text, file=sys.stderr, flush=True)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        """Follow a run whose worker starts, or that another command does."""
        prefix = f"{_name(spec)}: " if self._total > 1 else ""
        self._tails[folder.path] = (prefix, Tail(folder.log))
        self.say(f"{spec.name} ({where})")

    def tick(self) -> None:
        """Show what is new; called about four times a second."""
        for prefix, tail in self._tails.values():
            self._show(prefix, tail.lines())

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        """Show the end of a run's log, then how the run ended and the count of the plan."""
        if folder.path in self._tails:
            prefix, tail = self._tails.pop(folder.path)
            self._show(prefix, tail.lines(is_over=True))
        self._ended += 1
        count = f" ({self._ended}/{self._total} runs)" if self._total > 1 else ""
        self.say(f"{_name(spec)}: {text}{count}")

    def close(self) -> None:
        """End the view."""

    def _show(self, prefix: str, lines: list[str]) -> None:
        for text in map(without_time, lines):
            if text != DONE:
                self.say(f"{prefix}{text}")


class BarsView(View):
    """Shows a plan as bars, lines above them; on close the terminal is as it was before."""

    def __init__(self, total: int, console: Console) -> None:
        super().__init__(total)
        column = Column(no_wrap=True, overflow="ellipsis")
        self._bars = Bars(
            TextColumn("{task.description}", markup=False, table_column=column),
            BarColumn(16),
            TextColumn("{task.fields[text]}", markup=False, table_column=column.copy()),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._at_work: dict[Path, tuple[TaskID, RunFolder]] = {}
        self._plan = self._bars.add_task("", total=total, visible=total > 1, text="")

    def say(self, text: str) -> None:
        self._bars.console.print(Text(text), soft_wrap=True)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        super().began(spec, folder, where)
        bar = self._bars.add_task(_name(spec), total=1.0, text="")
        self._at_work[folder.path] = (bar, folder)
        self.tick()
        self._bars.start()

    def tick(self) -> None:
        super().tick()
        total = float(self._ended)
        for bar, folder in self._at_work.values():
            status = folder.status()
            if status.get("pid") != folder.lock.holder().get("pid"):  # an earlier attempt's
                status = {}
            share = min(1.0, (status.get("step") or 0) / (status.get("total") or 1))
            texts = progress_texts(status).items()
            words = [LABELS.get(name, "{}").format(text) for name, text in texts]
            self._bars.update(bar, completed=share, text="  ".join(words))
            total += share
        name, text = f"{self._ended}/{self._total} runs", f"{len(self._at_work)} at work"
        self._bars.update(self._plan, completed=total, description=name, text=text)
        self._bars.refresh()

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        if folder.path in self._at_work:
            self._bars.remove_task(self._at_work.pop(folder.path)[0])
        super().ended(spec, folder, text)
        self.tick()

    def close(self) -> None:
        self._bars.stop()

    def _show(self, prefix: str, lines: list[str]) -> None:
        super()._show(prefix, [line for line in lines if not STEP.match(without_time(line))])


def _name(spec: RunSpec) -> str:
    return f"{spec.method.name} seed {spec.seed}"
