"""What a launcher shows a plan with: lines here; on a terminal bars."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol, TextIO

from vlbench.running.folder import RunFolder
from vlbench.running.logs import Tail, notes
from vlbench.running.spec import RunSpec


class View(Protocol):
    """What a plan's launcher tells."""

    def say(self, text: str) -> None:
        """A line about the plan."""

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        """A worker starts, or a run that another command does is followed."""

    def tick(self) -> None:
        """Show what is new; called about four times a second."""

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        """A run is over: how."""

    def close(self) -> None:
        """Nothing comes any more."""


def new_view(total: int) -> View:
    """The view for a plan of so many runs that are to do: bars on a terminal, lines elsewhere."""
    from rich.console import Console

    console = Console(file=sys.stderr, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        from vlbench.running.bars import BarsView

        return BarsView(total, console)
    return PlainView(total)


class Names:
    """Short names of a plan's runs: `compacter seed 0`, or in full where two would be alike."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def of(self, spec: RunSpec) -> str:
        """The run's name, the same whenever it is asked for."""
        short = f"{spec.method.name} seed {spec.seed}"
        return short if self._keys.setdefault(short, spec.key) == spec.key else spec.name


class PlainView:
    """The new lines of the runs' logs, each with its run's name where there are several."""

    def __init__(self, total: int = 1, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._names = Names()
        self._tails: dict[Path, tuple[str, Tail]] = {}
        self._ended = 0

    def say(self, text: str) -> None:
        """A line about the plan."""
        print(text, file=self._stream, flush=True)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        """The run in full, and where it is done."""
        self._tails[folder.path] = (self._prefix(spec), Tail(folder.log))
        self.say(f"{spec.name} ({where})")

    def tick(self) -> None:
        """What is new in the logs."""
        for prefix, tail in self._tails.values():
            self._show(prefix, tail.lines())

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        """The end of its log, then how it ended and the count of the plan."""
        _, tail = self._tails.pop(folder.path, ("", Tail(folder.log)))
        self._show(self._prefix(spec), tail.rest())
        self._ended += 1
        count = f" ({self._ended}/{self._total} runs)" if self._total > 1 else ""
        self.say(f"{self._names.of(spec)}: {text}{count}")

    def close(self) -> None:
        """Nothing is open."""

    def _prefix(self, spec: RunSpec) -> str:
        return f"{self._names.of(spec)}: " if self._total > 1 else ""

    def _show(self, prefix: str, lines: list[str]) -> None:
        for text in notes(lines):
            self.say(f"{prefix}{text}")
