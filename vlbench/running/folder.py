"""A run's folder, `runs/<key>/`: who holds it, how far it is, and what it wrote."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlbench.errors import DataError, NothingToReport, RunFailed
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
        self.lock = path / "lock"
        self.log = path / "log.txt"
        self.curve = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint" / "last.pt"
        self.adapter = path / "adapter.safetensors"
        self.predictions = path / "predictions"
        self.submissions = path / "submissions"
        self.result = path / "result.parquet"

    @classmethod
    def of(cls, results: Path, spec: RunSpec) -> RunFolder:
        """The folder a spec's run has."""
        return cls(results / "runs" / spec.key)

    @classmethod
    def all(cls, results: Path) -> list[RunFolder]:
        """Every run folder that has a spec, by key."""
        return [cls(file.parent) for file in sorted(results.glob("runs/*/spec.json"))]

    @property
    def is_done(self) -> bool:
        """Whether the run has its result; it is written last."""
        return self.result.is_file()

    def create(self, spec: RunSpec) -> None:
        """Make the folder with its spec; where data or weights have moved, it says where to."""
        if self.spec_file.is_file() and RunSpec.read(self.spec_file) == spec:
            return
        try:
            write_atomically(self.spec_file, spec.to_json())
        except OSError as error:
            raise RunFailed(f"{self.path}: cannot be written: {error.strerror}") from None

    @contextmanager
    def claimed(self, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Hold the run for this process; waits while another one does, ends with the process."""
        with self.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def is_claimed(self) -> bool:
        """Whether a process holds the run now."""
        try:
            with self.lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @property
    def state(self) -> str:
        """planned, running, done, failed, cancelled, or stopped: it ran and its process is gone."""
        if self.is_done:
            return "done"
        if self.is_claimed:
            return "running"
        said = str(self.status().get("status", "planned"))
        return "stopped" if said == "running" else said

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


def list_runs(results: Path) -> tuple[list[dict[str, Any]], list[DataError]]:
    """Every run of a results folder with its state, and what is wrong with unreadable specs."""
    items, faults = [], []
    for folder in RunFolder.all(results):
        try:
            spec = RunSpec.read(folder.spec_file)
        except DataError as error:
            faults.append(error)
            continue
        items.append(
            {
                "key": spec.key,
                "method": spec.method.name,
                "settings": list(spec.settings),
                "init": spec.origin,
                "suite": spec.suite,
                "backbone": spec.backbone,
                "edition": spec.edition,
                "scope": spec.scope,
                "seed": spec.seed,
                "status": folder.state,
            }
        )
    if not items and not faults:
        raise NothingToReport(f"{results}: no runs here (looked for runs/*/spec.json).")
    order = ("suite", "backbone", "edition", "scope", "method", "settings", "seed", "key")
    return sorted(items, key=lambda item: [item[name] for name in order]), faults
