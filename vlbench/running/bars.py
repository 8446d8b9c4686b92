"""Progress on a terminal: a bar for each run at work, over it what there is to say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vlbench.running.folder import RunFolder
from vlbench.running.logs import Tail, is_step, notes
from vlbench.running.overview import told
from vlbench.running.spec import RunSpec
from vlbench.running.view import Names

LESS = ("where", "rate", "phase", "loss", "step", "left")
"""What goes first where the terminal is narrow."""
SHOWN = ("where", "phase", "step", "loss", "rate", "left")
"""The columns behind the bar, from left to right."""
WORDS = {"loss": "loss {}", "rate": "{} ex/s", "left": "eta {}"}
HELD = "held"
"""How the place of a run begins that another command does."""
BAR_MIN, BAR_MAX = 10, 40
"""Width of a bar, in characters."""


class Bar:
    """A run at work."""

    def __init__(self, name: str, folder: RunFolder, where: str) -> None:
        self.name = name
        self.folder = folder
        self.where = where
        self.tail = Tail(folder.log)
        self._before = {} if folder.claim.is_held else folder.status()
        """What an earlier attempt left, which a worker that starts has not replaced yet."""

    def status(self) -> Mapping[str, Any]:
        """How far it is."""
        found = self.folder.status()
        return {} if found == self._before else found


class BarsView:
    """Bars below, lines above; the terminal is as it was when it is closed."""

    def __init__(self, total: int, console: Console) -> None:
        self._total = total
        self._console = console
        self._names = Names()
        self._bars: dict[Path, Bar] = {}
        self._ended = 0
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            get_renderable=self._table,
        )

    def say(self, text: str) -> None:
        """A line about the plan, above the bars."""
        self._console.print(Text(text), soft_wrap=True)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        """A bar more; the bars show from the first on."""
        name = self._names.of(spec)
        if where.startswith(HELD):
            self.say(f"{name}: {where}")
            where = "elsewhere"
        self._bars[folder.path] = Bar(name, folder, where)
        if not self._live.is_started:
            self._live.start()
        self.tick()

    def tick(self) -> None:
        """The notes that are new in the logs, above; the bars as they are now."""
        for bar in self._bars.values():
            self._tell(bar, bar.tail.lines())
        if self._live.is_started:
            self._live.refresh()

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        """A bar less, and a line how the run ended."""
        bar = self._bars.pop(folder.path, None)
        if bar is not None:
            self._tell(bar, bar.tail.rest())
        self._ended += 1
        self.say(f"{self._names.of(spec)}: {text}")
        self.tick()

    def close(self) -> None:
        """No bars any more."""
        self._live.stop()

    def _tell(self, bar: Bar, lines: list[str]) -> None:
        prefix = f"{bar.name}: " if self._total > 1 else ""
        for text in notes(lines):
            if not is_step(text):
                self.say(f"{prefix}{text}")

    def _table(self) -> Table:
        """A row for each run at work, and one for the plan where it has more than one run."""
        found = [(bar, bar.status()) for bar in self._bars.values()]
        shares = [_share(status) for _, status in found]
        overall = (self._ended + sum(shares)) / max(1, self._total)
        room = max(1, self._console.height - 3)
        rows = [{"run": bar.name, **described(status, bar.where)} for bar, status in found[:room]]
        more = f", {len(found)} at work" if len(found) > room else ""
        if self._total > 1:
            rows.append({"run": f"{self._ended}/{self._total} runs{more}"})
            shares = [*shares[:room], overall]
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


def described(status: Mapping[str, Any], where: str) -> dict[str, str]:
    """What is known of a run at work, as its columns."""
    found = told(status)
    return {"where": where} | {name: WORDS.get(name, "{}").format(found[name]) for name in found}


def fitting(rows: list[dict[str, str]], width: int) -> tuple[list[str], int]:
    """The columns that there is room for, and how wide the bars are."""
    columns = [name for name in SHOWN if any(row.get(name) for row in rows)]

    def room() -> int:
        shown = ("run", *columns)
        used = [max((cell_len(row.get(name, "")) + 2 for row in rows), default=0) for name in shown]
        return width - sum(used) - 2

    for name in LESS:
        if room() < BAR_MIN and name in columns:
            columns.remove(name)
    return columns, max(1, min(BAR_MAX, room()))


def _share(status: Mapping[str, Any]) -> float:
    """How much of its training a run has behind it."""
    total = status.get("total") or 0
    return min(1.0, (status.get("step") or 0) / total) if total else 0.0
