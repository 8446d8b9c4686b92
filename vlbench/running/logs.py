"""Reading a run's log while it grows."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")
STEP = re.compile(r"step \d")
DONE = "done"
"""A log's last line where all went well; views say it in words of their own."""


class Tail:
    """What is new in a log since it was last asked; lines come when they are whole."""

    def __init__(self, file: Path, is_whole: bool = False) -> None:
        self.file = file
        self._place = 0 if is_whole or not file.is_file() else file.stat().st_size
        self._part = b""

    def lines(self) -> list[str]:
        """The new whole lines."""
        text = b""
        with suppress(FileNotFoundError), self.file.open("rb") as file:
            file.seek(self._place)
            text = file.read()
        self._place += len(text)
        *whole, self._part = (self._part + text).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def rest(self) -> list[str]:
        """The new lines, with one at the end that is not whole."""
        found = self.lines()
        part, self._part = self._part, b""
        return [*found, part.decode(errors="replace")] if part else found


def without_time(line: str) -> str:
    """What a line says; raw output of a process has no time before it."""
    return TIME.sub("", line, count=1) if TIME.match(line) else line


def notes(lines: list[str]) -> list[str]:
    """The lines without their times, and without the last word of a run that is done."""
    texts = [without_time(line) for line in lines]
    return [text for text in texts if text != DONE]


def is_step(text: str) -> bool:
    """Whether a line without its time tells of a training step."""
    return STEP.match(text) is not None
