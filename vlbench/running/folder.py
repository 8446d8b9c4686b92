"""A run's folder, `runs/<key>/`: who holds it, how far it is, and what it wrote."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlbench.files import write_atomically
from vlbench.running.spec import RunSpec


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunFolder:
    """The files of one run; each appears complete or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec_file = path / "spec.json"
        self.status_file = path / "status.json"
        self.attempts_file = path / "attempts.jsonl"
        self.log = path / "log.txt"
        self.curve = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint" / "last.pt"
        self.adapter = path / "adapter.safetensors"
        self.predictions = path / "predictions"
        self.result = path / "result.parquet"

    @classmethod
    def of(cls, results: Path, spec: RunSpec) -> RunFolder:
        """The folder a spec's run has."""
        return cls(results / "runs" / spec.key)

    @property
    def is_done(self) -> bool:
        """Whether the run has its result; it is written last."""
        return self.result.is_file()

    def create(self, spec: RunSpec) -> None:
        """Make the folder with its spec, if it is not there."""
        if not self.spec_file.is_file():
            write_atomically(self.spec_file, spec.to_json())

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the run for this process; waits while another one does, ends with the process."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def status(self) -> dict[str, Any]:
        """What `status.json` says; empty where there is none."""
        try:
            status: dict[str, Any] = json.loads(self.status_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return status

    def write_status(self, status: str, attempt: int, **details: Any) -> None:
        """Say how the run stands, with the time and the process that says it."""
        table = {
            "schema": "vlbench.status/1",
            "status": status,
            "attempt": attempt,
            "pid": os.getpid(),
            "updated_at": now(),
            **details,
        }
        write_atomically(self.status_file, json.dumps(table, indent=2) + "\n")

    def attempts(self) -> int:
        """How many attempts began."""
        try:
            lines = self.attempts_file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return 0
        return sum('"began"' in line for line in lines)

    def note_attempt(self, attempt: int, event: str, error: str = "") -> None:
        """Append to the record of attempts: began, done, failed, cancelled."""
        line = {"attempt": attempt, "event": event, "at": now(), "pid": os.getpid(), "error": error}
        self.append(self.attempts_file, line)

    def append(self, file: Path, line: dict[str, Any]) -> None:
        """Add one line to a JSON Lines file."""
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
