"""Progress of runs: their log lines, an overview of a results folder, bars on a terminal."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from vlbench.errors import DataError, NothingToReport
from vlbench.files import require_writable
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.runs.state import host_and_device
from vlbench.text import format_duration

if TYPE_CHECKING:
    from vlbench.training.train import Step

LINE_SECONDS = 10.0
"""A training step has a line in the log at most this often."""
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")
STEP = re.compile(r"step \d")
DONE = "done"
"""A log's last line where all went well; views say it in words of their own."""
PROGRESS = ("phase", "step", "total", "epoch", "loss", "examples_per_second", "seconds_left")
"""What `status.json` holds of a run at work, and only then; numbers, but for the phase."""
ORDER = ("running", "queued", "failed", "out-of-memory", "timeout", "stopped", "preempted")
"""The order in which states are listed; others come last."""
BEHIND = {
    **{"step": "{}", "left": "eta {}", "loss": "loss {}"},
    **{"phase": "{}", "rate": "{} ex/s", "where": "{}"},
}
"""What stands behind a bar, the less important last, as a terminal may be narrow."""
BAR_WIDTH = 16


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

    def lines(self) -> list[str]:
        """The whole lines since the last call."""
        text = b""
        with suppress(FileNotFoundError), self.file.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        self._offset += len(text)
        *whole, self._part = (self._part + text).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def rest(self) -> list[str]:
        """The lines since the last call, with a last one that is not whole."""
        lines = self.lines()
        part, self._part = self._part, b""
        return [*lines, part.decode(errors="replace")] if part else lines


def without_time(line: str) -> str:
    """A line of the log without its time; a process's raw output has none."""
    return TIME.sub("", line, count=1) if TIME.match(line) else line


class Overview:
    """The runs of a results folder, for showing them again and again."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.faults: list[DataError] = []
        """What is wrong with what cannot be read."""
        self._facts: dict[Path, dict[str, Any]] = {}

    def items(self) -> list[dict[str, Any]]:
        """Every run as it is now, those at work first; specs are read once."""
        self.faults = []
        items = []
        for folder in RunFolder.all(self.results, self.faults):
            try:
                if folder.path not in self._facts:
                    self._facts[folder.path] = RunSpec.read(folder.spec_file).facts
                items.append({**self._facts[folder.path], **_state(folder)})
                self.faults += folder.faults()
            except DataError as error:
                self.faults.append(error)
        if not items and not self.faults:
            raise NothingToReport(f"{self.results}: no runs here (looked for runs/*/spec.json).")
        names = ("suite", "backbone", "edition", "method", "settings", "seed", "key")
        items.sort(key=lambda item: [item[name] for name in names])
        return sorted(items, key=lambda item: [*ORDER, item["status"]].index(item["status"]))


def _state(folder: RunFolder) -> dict[str, Any]:
    """The state of a run, with the progress of one at work and the error of one that is not."""
    state, status = folder.state, folder.status()
    is_running = state == "running"
    progress = {name: status.get(name) if is_running else None for name in PROGRESS}
    for name, value in progress.items():  # anybody may have written the file
        is_number = isinstance(value, int | float) and abs(value) < 1e15
        if not (isinstance(value, str) if name == "phase" else is_number):
            progress[name] = None
    has_ended_badly = state not in ("running", "queued", "done", "planned")
    return {
        "status": state,
        "attempts": folder.attempts(),
        "where": host_and_device(folder) if is_running else "",
        "job": str(folder.job().get("job") or ""),
        **progress,
        "updated_at": status.get("updated_at"),
        "error": str(status.get("error") or "") if has_ended_badly else "",
    }


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
        ("loss", "loss", "{:.3f}".format),
        ("rate", "examples_per_second", "{:,.0f}".format),
        ("left", "seconds_left", format_duration),
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
        self._follow(spec, folder)
        self.say(f"{spec.name} ({where})")

    def tick(self) -> None:
        """Show what is new; called about four times a second."""
        for prefix, tail in self._tails.values():
            self._show(prefix, tail.lines())

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        """Show the end of a run's log, then how the run ended and the count of the plan."""
        if folder.path in self._tails:
            prefix, tail = self._tails.pop(folder.path)
            self._show(prefix, tail.rest())
        self._ended += 1
        count = f" ({self._ended}/{self._total} runs)" if self._total > 1 else ""
        self.say(f"{_name(spec)}: {text}{count}")

    def close(self) -> None:
        """End the view."""

    def _follow(self, spec: RunSpec, folder: RunFolder) -> None:
        prefix = f"{_name(spec)}: " if self._total > 1 else ""
        self._tails[folder.path] = (prefix, Tail(folder.log))

    def _show(self, prefix: str, lines: list[str]) -> None:
        for text in map(without_time, lines):
            if text != DONE:
                self.say(f"{prefix}{text}")


class BarsView(View):
    """Shows a plan as bars, lines above them; on close the terminal is as it was before."""

    def __init__(self, total: int, console: Console) -> None:
        super().__init__(total)
        plain: dict[str, Any] = {"markup": False, "table_column": Column(no_wrap=True)}
        self._bars = Bars(
            TextColumn("{task.description}", **plain),
            BarColumn(BAR_WIDTH),
            TextColumn("{task.fields[text]}", **plain),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._at_work: dict[Path, tuple[TaskID, RunFolder, str, dict[str, Any]]] = {}
        self._plan = self._bars.add_task("", total=total, visible=total > 1, text="")

    def say(self, text: str) -> None:
        self._bars.console.print(Text(text), soft_wrap=True)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        self._follow(spec, folder)
        bar = self._bars.add_task(_name(spec), total=1.0, text="")
        # a worker that starts has not replaced an earlier attempt's status yet
        before = {} if folder.lock.is_locked else folder.status()
        self._at_work[folder.path] = (bar, folder, where, before)
        self.tick()
        self._bars.start()

    def tick(self) -> None:
        super().tick()
        total = float(self._ended)
        width = max(cell_len(task.description) for task in self._bars.tasks)
        room = self._bars.console.width - width - BAR_WIDTH - 4
        for bar, folder, where, before in self._at_work.values():
            status = {} if (status := folder.status()) == before else status
            if status.get("status", "running") != "running":  # about to be reaped
                total += 1.0
                continue
            share = min(1.0, (status.get("step") or 0) / (status.get("total") or 1))
            texts = {**progress_texts(status), "where": where}
            words = [spell.format(texts[name]) for name, spell in BEHIND.items() if name in texts]
            while words and cell_len("  ".join(words)) > room:
                words.pop()
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
