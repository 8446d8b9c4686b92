"""A run's folder, `runs/<key>/`: how far the run is, and what it wrote."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from vlbench.errors import DataError, NothingToReport, RunFailed, UsageError
from vlbench.files import (
    append_line,
    parse_object,
    read_object,
    read_small,
    remove_leftovers,
    write_atomically,
)
from vlbench.lock import Lock, LockedError
from vlbench.runs.checkpoints import Checkpoints
from vlbench.runs.packed import PackedPath, packs_of, stored_run
from vlbench.runs.spec import RunSpec
from vlbench.text import now, results_option

ENDINGS = ("failed", "out-of-memory", "timeout", "cancelled", "preempted", "stopped")
"""How an attempt ends that does not end the run."""
STATES = ("planned", "queued", "running", "done", *ENDINGS)
PROGRESS = ("phase", "step", "total", "epoch", "loss", "examples_per_second", "seconds_left")
"""What `status.json` holds of a run at work, and only then; numbers, but for the phase."""
STATUS_SECONDS = 1.0
"""A running worker writes its progress at most this often."""


class RunFolder:
    """The files of one run; each appears complete or not at all."""

    def __init__(self, path: Path, stored: Traversable | None = None) -> None:
        self.path = path
        self.stored = stored or path
        """Where the run's files are read: this folder, or a pack that has the run."""
        self.spec_file = self.stored / "spec.json"
        self.status_file = path / "status.json"
        self.attempts_file = path / "attempts.jsonl"
        self.job_file = path / "job.json"
        self.cancel_file = path / "cancel"
        self.lock = Lock(path)
        self.log = path / "log.txt"
        self.curve = path / "metrics.jsonl"
        self.checkpoints = Checkpoints(path / "checkpoint")
        self.answers = path / "checkpoint" / "answers"
        self.adapter = path / "adapter.safetensors"
        self.predictions = path / "predictions"
        self.submissions = path / "submissions"
        self.result = path / "result.parquet"
        self._status_at = -STATUS_SECONDS

    @classmethod
    def of(cls, results: Path, spec: RunSpec) -> RunFolder:
        """The folder of a spec's run."""
        return cls(results / "runs" / spec.key, stored_run(results, spec.key))

    @classmethod
    def all(cls, results: Path, faults: list[DataError] | None = None) -> list[RunFolder]:
        """Every run that has a spec, by key, packed or not; `faults` as in `run_folders`."""
        runs = [cls(results / "runs" / run.name, run) for run in stored_runs(results, faults)]
        return [run for run in runs if run.is_packed or os.path.lexists(run.path / "spec.json")]

    def create(self, spec: RunSpec) -> None:
        """Write the spec, again where data or weights have moved."""
        file = self.path / "spec.json"
        if os.path.isfile(file) and RunSpec.read(file) == spec:
            return
        try:
            write_atomically(file, spec.to_json())
        except OSError as error:
            raise RunFailed(f"{self.path}: cannot be written: {error.strerror}") from None

    @property
    def name(self) -> str:
        """The run's name; empty where its spec cannot be read."""
        with suppress(DataError):
            return RunSpec.read(self.spec_file).name
        return ""

    @property
    def is_packed(self) -> bool:
        """Whether the run has no folder, as a pack has it; such a run is done."""
        return isinstance(self.stored, PackedPath)

    @property
    def is_done(self) -> bool:
        """Whether the run has its result, which is written last."""
        return self.is_packed or os.path.isfile(self.result)

    @property
    def done_at(self) -> float:
        """When the result was written, or packed."""
        packed = self.stored.pack.file("rows") if isinstance(self.stored, PackedPath) else None
        return (packed or self.result).stat().st_mtime

    @property
    def state(self) -> str:
        """One of STATES; `stopped` is also a run whose process is gone without a word."""
        if self.is_done:
            return "done"
        if self.lock.is_locked:
            return "running"
        status = str(self.status().get("status", "planned"))
        if self.job().get("attempts") == self.attempts():
            return "queued"
        return "stopped" if status == "running" else status

    @property
    def host_and_device(self) -> str:
        """The host and device that the run is done on."""
        holder = self.lock.holder() or self.status()
        return " ".join(str(holder.get(name) or "") for name in ("host", "where")).strip()

    def status(self) -> dict[str, Any]:
        """What `status.json` says; empty where it cannot be read."""
        return _object(self.stored / self.status_file.name)

    def job(self) -> dict[str, Any]:
        """The cluster's job for the run: launcher, job, submitted_at, attempts before it."""
        return _object(self.job_file)

    def faults(self) -> list[DataError]:
        """Unreadable files among those that say how the run stands; they count as absent."""
        faults: list[DataError] = []
        if self.is_packed:
            return faults
        for file in (self.status_file, self.job_file, self.lock.holder_file):
            try:
                if os.path.lexists(file):
                    read_object(file)
            except DataError as error:
                what_to_do = "It counts as absent: remove it, or do the run again."
                faults.append(DataError(f"{error}. {what_to_do}"))
        return faults

    def write_status(self, status: str, attempt: int, **details: Any) -> None:
        """Write how the run stands, with the time and this process."""
        table = {"schema": "vlbench.status/1", "status": status, "attempt": attempt}
        table |= {"host": socket.gethostname(), "pid": os.getpid(), "updated_at": now(), **details}
        write_atomically(self.status_file, json.dumps(table, indent=2) + "\n", is_flushed=False)

    def write_progress(self, attempt: int, **details: Any) -> None:
        """Write how far a running worker is, unless that was written a moment ago."""
        if time.monotonic() - self._status_at >= STATUS_SECONDS:
            self.write_status("running", attempt, **details)
            self._status_at = time.monotonic()

    def record(self) -> list[dict[str, Any]]:
        """The readable lines about attempts: attempt, event, at, host, pid and more."""
        lines = []
        with suppress(OSError, ValueError):
            for text in read_small(self.stored / self.attempts_file.name).splitlines():
                with suppress(ValueError):  # torn
                    lines.append(parse_object(text))
        return lines

    def attempts(self) -> int:
        """Number of attempts that began."""
        return sum(line.get("event") == "began" for line in self.record())

    @property
    def is_attempt_open(self) -> bool:
        """Whether the last attempt has no end on record."""
        return [line.get("event") for line in self.record()][-1:] == ["began"]

    def note_attempt(self, attempt: int, event: str, where: str = "", error: str = "") -> None:
        """Append to the record of attempts: began, done, or how it ended."""
        line = {"attempt": attempt, "event": event, "at": now(), "host": socket.gethostname()}
        line |= {"pid": os.getpid(), "where": where, "error": error}
        append_line(self.attempts_file, line)

    def settle(self) -> None:
        """Finish what a run that has its result was killed in.

        Results that are kept without their attempts, as committed ones, are left as they are.
        """
        is_noted = self.status().get("status") == "done" and not self.is_attempt_open
        attempt = self.attempts()
        if not attempt or self.is_packed or (is_noted and not self.checkpoints.folder.exists()):
            return
        with suppress(LockedError, OSError), self.lock.acquire():
            if self.is_attempt_open:
                self.note_attempt(attempt, "done")
            self.write_status("done", attempt)
            self.checkpoints.remove()
            remove_leftovers(self.path)


def _object(file: Traversable) -> dict[str, Any]:
    with suppress(DataError):
        return read_object(file)
    return {}


def short_error(status: Mapping[str, Any]) -> str:
    """The line that says what ended an attempt: the first, of a traceback the last; or empty."""
    lines = str(status.get("error") or "").strip().splitlines() or [""]
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return line.removeprefix(f"{status.get('status')}: ")


def run_folders(results: Path, faults: list[DataError] | None = None) -> list[Path]:
    """The folders below `runs/`, by name; those that cannot be looked into are added to `faults`.

    Without it the first of them is an error.
    """
    runs = results / "runs"
    try:
        paths = sorted(runs / name for name in os.listdir(runs) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{runs}: cannot be read: {error.strerror}.") from None
    folders = []
    for path in paths:
        try:
            os.scandir(path).close()
            folders.append(path)
        except NotADirectoryError:
            pass
        except OSError as error:
            fault = DataError(
                f"{path}: cannot be read: {error.strerror}. Its owner can make it readable "
                "(chmod -R a+rX), or it can be moved out of the results."
            )
            if faults is None:
                raise fault from None
            faults.append(fault)
    return folders


def stored_runs(results: Path, faults: list[DataError] | None = None) -> list[Traversable]:
    """Every run of a results folder, by name: its folder, or where a pack has it."""
    runs: dict[str, Traversable] = {folder.name: folder for folder in run_folders(results, faults)}
    for pack in packs_of(results, faults):
        for key in pack.keys:
            if key not in runs or not (runs[key] / "result.parquet").is_file():
                runs[key] = PackedPath(pack, key)
    return [runs[name] for name in sorted(runs)]


def some_runs(results: Path, faults: list[DataError]) -> list[RunFolder]:
    """Every run of a results folder; NothingToReport where there is none, readable or not."""
    folders = RunFolder.all(results, faults)
    if not folders and not faults:
        raise NothingToReport(f"{results}: no runs here (looked for runs/*/spec.json and packed/).")
    return folders


def list_runs(results: Path) -> tuple[list[dict[str, Any]], list[DataError]]:
    """Metadata, state and progress of every run of a results folder, and what cannot be read."""
    items: list[dict[str, Any]] = []
    faults: list[DataError] = []
    for folder in some_runs(results, faults):
        try:
            state, status = folder.state, folder.status()
            is_running = state == "running"
            item = {
                "status": state,
                "attempts": folder.attempts(),
                "where": folder.host_and_device if is_running else "",
                "job": str(folder.job().get("job") or ""),
                **{name: status.get(name) if is_running else None for name in PROGRESS},
                "updated_at": status.get("updated_at"),
                "error": str(status.get("error") or "") if state in ENDINGS else "",
            }
            items.append({**RunSpec.read(folder.spec_file).facts, **item})
            faults += folder.faults()
        except DataError as error:
            faults.append(error)
    order = ("suite", "backbone", "edition", "scope", "method", "settings", "seed", "key")
    return sorted(items, key=lambda item: [item[name] for name in order]), faults


def find_run(results: Path, text: str) -> RunFolder:
    """The one run whose key begins so, or whose name has all these words: `compacter seed 0`."""
    matches = find_runs(results, text)
    if len(matches) > 1:
        raise several_runs(text, matches)
    return matches[0]


def find_runs(results: Path, text: str) -> list[RunFolder]:
    """The runs whose key begins so, or whose name has all these words; at least one."""
    folders = some_runs(results, [])
    matches = [folder for folder in folders if folder.path.name.startswith(text)]
    if not matches:
        words = set(re.split(r"[\s,]+", text.strip()))
        matches = [f for f in folders if words <= set(re.split(r"[\s,]+", f.name))]
    if not matches or not text.strip():
        raise UsageError(
            f"No run '{text}' in {results}: a run is named by the begin of its key or by words "
            f"such as 'compacter seed 0'. See them: vlbench list runs{results_option(results)}"
        )
    return matches


def several_runs(text: str, folders: Sequence[RunFolder]) -> UsageError:
    """The error of words that name more runs than one."""
    lines = [f"  {folder.path.name}  {folder.name}" for folder in folders]
    return UsageError("\n".join([f"'{text}' names {len(folders)} runs:", *lines]))
