"""Progress of runs: their log lines, an overview of a results folder, bars on a terminal."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
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
LARGEST = 1e15
ORDER = ("running", "queued", "failed", "out-of-memory", "timeout", "stopped", "preempted")
"""The order in which states are listed; others come last."""
NARROW = ("where", "rate", "phase", "loss", "step", "left")
"""The columns that go, one after the other, where the terminal is narrow."""
COLUMNS = ("where", "phase", "step", "loss", "rate", "left")
"""The columns behind the bar, from left to right."""
WORDS = {"loss": "loss {}", "rate": "{} ex/s", "left": "eta {}"}
HELD = "held"
"""How the place of a run begins that another command does."""
BAR_MIN, BAR_MAX = 10, 40
"""Width of a bar, in characters."""


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
            self.say(describe(step))

    def log(self, text: str) -> None:
        """Write a line to the run's log alone."""
        if self._file is not None:
            require_writable(self._file)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")


def describe(step: Step) -> str:
    """A training step as one line."""
    return (
        f"step {step.number}/{step.total}  epoch {step.epoch}  {step.task}  loss {step.loss:.3f}  "
        f"lr {step.learning_rate:.2e}  {step.examples_per_second:.0f} examples/s  "
        f"eta {step.seconds_left:.0f} s"
    )


class Tail:
    """The new lines of a log, each once it is whole."""

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


def notes(lines: list[str]) -> list[str]:
    """The lines without their times, and without the last word of a run that is done."""
    texts = [without_time(line) for line in lines]
    return [text for text in texts if text != DONE]


def is_step(text: str) -> bool:
    """Whether a line without its time is about a training step."""
    return STEP.match(text) is not None


class Overview:
    """The runs of a results folder, for showing them again and again."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.faults: list[DataError] = []
        """What is wrong with what cannot be read."""
        self._facts: dict[Path, dict[str, Any]] = {}
        self._done: dict[Path, dict[str, Any]] = {}

    def items(self) -> list[dict[str, Any]]:
        """Every run as it is now, those at work first; specs and done runs are read once."""
        self.faults = []
        items = []
        for folder in RunFolder.all(self.results, self.faults):
            try:
                items.append(self._done.get(folder.path) or self._item(folder))
                self.faults += folder.faults()
            except DataError as error:
                self.faults.append(error)
        if not items and not self.faults:
            raise NothingToReport(f"{self.results}: no runs here (looked for runs/*/spec.json).")
        return sorted(items, key=_rank)

    def _item(self, folder: RunFolder) -> dict[str, Any]:
        if folder.path not in self._facts:
            self._facts[folder.path] = RunSpec.read(folder.spec_file).facts
        item = {**self._facts[folder.path], **_now(folder)}
        if item["status"] == "done":
            self._done[folder.path] = item
        return item


def _now(folder: RunFolder) -> dict[str, Any]:
    """The state of a run, with the progress of one at work and the error of one that is not."""
    state, status = folder.state, folder.status()
    is_running = state == "running"
    has_ended_badly = state not in ("running", "queued", "done", "planned")
    return {
        "status": state,
        "attempts": folder.attempts(),
        "where": host_and_device(folder) if is_running else "",
        "job": str(folder.job().get("job") or ""),
        **{name: _checked(status.get(name), name) if is_running else None for name in PROGRESS},
        "updated_at": status.get("updated_at"),
        "error": str(status.get("error") or "") if has_ended_badly else "",
    }


def _checked(value: object, name: str) -> str | float | None:
    """A value of the progress, None for what no worker writes."""
    if isinstance(value, str):
        return value if name == "phase" else None
    return value if isinstance(value, int | float) and abs(value) < LARGEST else None


def _rank(item: Mapping[str, Any]) -> tuple[Any, ...]:
    status = item["status"]
    names = ("suite", "backbone", "edition", "method", "settings", "seed", "key")
    first = ORDER.index(status) if status in ORDER else len(ORDER)
    return (first, *(item[name] for name in names))


def told(status: Mapping[str, Any]) -> dict[str, str]:
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


class Names:
    """Short names of a plan's runs: `compacter seed 0`, or in full where two would be alike."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def of(self, spec: RunSpec) -> str:
        """The run's name, the same at every call."""
        short = f"{spec.method.name} seed {spec.seed}"
        return short if self._keys.setdefault(short, spec.key) == spec.key else spec.name


class View:
    """Shows a plan as plain lines: those of its runs' logs, with their names where several run."""

    def __init__(self, total: int = 1, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._names = Names()
        self._tails: dict[Path, tuple[str, Tail]] = {}
        self._ended = 0

    def say(self, text: str) -> None:
        """Show a line about the plan."""
        print(text, file=self._stream, flush=True)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        """Follow a run whose worker starts, or that another command does."""
        self._tails[folder.path] = (self._prefix(spec), Tail(folder.log))
        self.say(f"{spec.name} ({where})")

    def tick(self) -> None:
        """Show what is new; called about four times a second."""
        for prefix, tail in self._tails.values():
            self._show(prefix, tail.lines())

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        """Show the end of a run's log, then how the run ended and the count of the plan."""
        _, tail = self._tails.pop(folder.path, ("", Tail(folder.log)))
        self._show(self._prefix(spec), tail.rest())
        self._ended += 1
        count = f" ({self._ended}/{self._total} runs)" if self._total > 1 else ""
        self.say(f"{self._names.of(spec)}: {text}{count}")

    def close(self) -> None:
        """End the view."""

    def _prefix(self, spec: RunSpec) -> str:
        return f"{self._names.of(spec)}: " if self._total > 1 else ""

    def _show(self, prefix: str, lines: list[str]) -> None:
        for text in notes(lines):
            self.say(f"{prefix}{text}")


class BarsView(View):
    """Shows a plan as bars, lines above them; on close the terminal is as it was before."""

    def __init__(self, total: int, console: Console) -> None:
        super().__init__(total)
        self._console = console
        self._bars: dict[Path, Bar] = {}
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            get_renderable=self._table,
        )

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(Text(text), soft_wrap=True)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        """Add a bar; the bars show from the first on."""
        name = self._names.of(spec)
        if where.startswith(HELD):
            self.say(f"{name}: {where}")
            where = "elsewhere"
        self._tails[folder.path] = (self._prefix(spec), Tail(folder.log))
        self._bars[folder.path] = Bar(name, folder, where)
        if not self._live.is_started:
            self._live.start()
        self.tick()

    def tick(self) -> None:
        """Print new notes above, and draw the bars again."""
        super().tick()
        if self._live.is_started:
            self._live.refresh()

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        """Remove a bar, and print how the run ended."""
        self._bars.pop(folder.path, None)
        prefix, tail = self._tails.pop(folder.path, ("", None))
        if tail is not None:
            self._show(prefix, tail.rest())
        self._ended += 1
        self.say(f"{self._names.of(spec)}: {text}")
        self.tick()

    def close(self) -> None:
        """Remove the bars."""
        self._live.stop()

    def _show(self, prefix: str, lines: list[str]) -> None:
        super()._show(prefix, [line for line in lines if not is_step(without_time(line))])

    def _table(self) -> Table:
        """A row for each run at work, and one for the plan where it has more than one run."""
        bars = [(bar, bar.status()) for bar in self._bars.values()]
        shares = [_share(status) for _, status in bars]
        room = max(1, self._console.height - 3)
        rows = [{"run": bar.name, **described(status, bar.where)} for bar, status in bars[:room]]
        if self._total > 1:
            more = f", {len(bars)} at work" if len(bars) > room else ""
            rows.append({"run": f"{self._ended}/{self._total} runs{more}"})
            shares = [*shares[:room], (self._ended + sum(shares)) / self._total]
        columns, width = fitting(rows, self._console.width)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True)
        for name in columns:
            table.add_column(no_wrap=True, justify="right" if name == "step" else "left")
        for row, share in zip(rows, shares, strict=True):
            bar = ProgressBar(total=1.0, completed=share, width=width)
            table.add_row(Text(row["run"]), bar, *(Text(row.get(name, "")) for name in columns))
        return table


class Bar:
    """The bar of a run at work."""

    def __init__(self, name: str, folder: RunFolder, where: str) -> None:
        self.name = name
        self.folder = folder
        self.where = where
        self._before = {} if folder.lock.is_locked else folder.status()
        """The status of an earlier attempt, which a worker that starts has not replaced yet."""

    def status(self) -> Mapping[str, Any]:
        """The status of this attempt."""
        status = self.folder.status()
        return {} if status == self._before else status


def described(status: Mapping[str, Any], where: str) -> dict[str, str]:
    """The progress of a run at work, by column."""
    texts = told(status)
    return {"where": where} | {name: WORDS.get(name, "{}").format(texts[name]) for name in texts}


def fitting(rows: list[dict[str, str]], width: int) -> tuple[list[str], int]:
    """The columns that the terminal has room for, and the width of the bars."""
    columns = [name for name in COLUMNS if any(row.get(name) for row in rows)]

    def room() -> int:
        names = ("run", *columns)
        used = [max((cell_len(row.get(name, "")) + 2 for row in rows), default=0) for name in names]
        return width - sum(used) - 2

    for name in NARROW:
        if room() < BAR_MIN and name in columns:
            columns.remove(name)
    return columns, max(1, min(BAR_MAX, room()))


def _share(status: Mapping[str, Any]) -> float:
    """The share of its training that a run has done."""
    total = status.get("total") or 0
    return min(1.0, (status.get("step") or 0) / total) if total else 0.0
