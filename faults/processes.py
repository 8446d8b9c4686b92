"""`vlbench run` and its workers, as processes that can be found, signalled and waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.losses import Loss

HANGS_SECONDS = 240.0
"""No command of this test takes so long."""


@dataclass(frozen=True)
class Worker:
    """A process that does a run, or is about to."""

    pid: int
    run: Path

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    @property
    def has_begun(self) -> bool:
        """Whether its attempt is on record."""
        return self.pid in begun_by(self.run)


def workers_of(results: Path) -> list[Worker]:
    """The workers that are alive, for runs of a results folder; told by their command lines."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"{entry.path}/cmdline", "rb") as file:
                words = [os.fsdecode(word) for word in file.read().split(b"\0")]
        except OSError:
            continue  # it has just ended
        if "vlbench.worker" in words:
            runs = [Path(word) for word in words if word.startswith(f"{results}/")]
            found += [Worker(int(entry.name), run) for run in runs]
    return found


def begun_by(run: Path) -> set[int]:
    """The processes that began an attempt at a run."""
    return {int(line["pid"]) for line in attempts_of(run) if line["event"] == "began"}


def attempts_of(run: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's record of attempts."""
    lines = []
    with suppress(FileNotFoundError):
        text = (run / "attempts.jsonl").read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
    return lines


def _hears_interrupts() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and all that this starts too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command:
    """One `vlbench run`."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vlbench", *words],
                env=dict(environment),
                cwd=output.parent,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=_hears_interrupts,
            )
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def said(self) -> str:
        """All it has printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def is_running(self) -> bool:
        """Whether it goes on; one that never ends is a loss."""
        if self.process.poll() is not None:
            return False
        if self.seconds > HANGS_SECONDS:
            self.process.kill()
            raise Loss(f"a command hangs: {self.output}")
        return True

    def wait(self) -> int:
        """Its exit code."""
        while self.is_running():
            time.sleep(0.05)
        return int(self.process.returncode)

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        self.process.send_signal(number)
