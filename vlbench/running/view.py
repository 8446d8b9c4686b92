"""Temporary: plain lines until the real view is here (helper D writes it; overwrite this file)."""

from __future__ import annotations

import sys
from typing import Protocol

from vlbench.running.folder import RunFolder
from vlbench.running.spec import RunSpec


class View(Protocol):
    """What a launcher shows a plan with."""

    def say(self, text: str) -> None: ...
    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None: ...
    def tick(self) -> None: ...
    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None: ...
    def close(self) -> None: ...


class PlainView:
    def __init__(self) -> None:
        self.logs: dict[RunFolder, int] = {}

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        self.say(f"{spec.name}: {where}")
        size = folder.log.stat().st_size if folder.log.is_file() else 0
        self.logs[folder] = size

    def tick(self) -> None:
        for folder, place in self.logs.items():
            if folder.log.is_file():
                with folder.log.open("rb") as file:
                    file.seek(place)
                    text = file.read()
                self.logs[folder] = place + len(text)
                for line in text.decode(errors="replace").splitlines():
                    self.say(line[21:])

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        self.tick()
        self.say(f"{spec.name}: {text}")

    def close(self) -> None: ...


def new_view(total: int) -> View:
    """The view."""
    return PlainView()
