"""Workers that take no time to start: they hold the run and do what the test wrote into it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.runs.test_spec import SPEC
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from vlbench.lock import LockedError
from vlbench.runs.folder import RunFolder
from vlbench.runs.stopping import Stop, Stopped

folder = RunFolder(Path(sys.argv[1]))
stop = Stop()
stop.on_signals("cancelled")
stop.listen(sys.stdin.fileno())
try:
    with folder.lock.acquire(sys.argv[2]):
        if folder.is_done:  # by another worker, since this one was started
            sys.exit(0)
        attempt = folder.attempts() + 1
        folder.note_attempt(attempt, "began", sys.argv[2])
        folder.write_status("running", attempt)
        began = time.monotonic()
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        try:
            exec((folder.path / "program").read_text())
        except Stopped as stopped:
            folder.note_attempt(attempt, stopped.reason)
            folder.write_status(stopped.reason, attempt, error=str(stopped))
            sys.exit(130)
        with (folder.path.parent / "intervals").open("a") as file:
            file.write(json.dumps([gpus, began, time.monotonic()]) + "\\n")
        folder.result.touch()
        folder.note_attempt(attempt, "done")
        folder.write_status("done", attempt)
except LockedError:
    sys.exit(75)
"""
"""What the toy worker does around its own lines; `exec` is of the test's own text."""


class Quiet:
    """A view that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.begun: list[tuple[str, str]] = []
        self.over: list[tuple[str, str]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def began(self, spec: RunSpec, folder: RunFolder, where: str) -> None:
        self.begun.append((spec.key, where))

    def tick(self) -> None: ...

    def ended(self, spec: RunSpec, folder: RunFolder, text: str) -> None:
        self.over.append((spec.key, text))

    def close(self) -> None: ...


def toy_specs(count: int) -> list[RunSpec]:
    return [SPEC.model_copy(update={"seed": seed}) for seed in range(count)]


def use_toys(monkeypatch: pytest.MonkeyPatch, program: str = PROGRAM) -> None:
    """Launchers start toys from now on."""

    def command(folder: RunFolder, where: str, processes: int = 1) -> list[str]:
        return [sys.executable, "-c", program, str(folder.path), where]

    monkeypatch.setattr("vlbench.runs.launch.worker_command", command)


def make(results: Path, spec: RunSpec, program: str = "time.sleep(0.2)") -> RunFolder:
    """A run folder with what its worker is to do."""
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    (folder.path / "program").write_text(program)
    return folder
