"""Do the runs of a plan: what launchers share, and a worker as its launcher sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.config import SlurmSettings
from vlbench.errors import INTERRUPTED, RunFailed, UsageError, VlbenchError, nearest
from vlbench.runs.folder import RunFolder, short_error
from vlbench.runs.spec import RunSpec
from vlbench.runs.watch import Tail, without_time
from vlbench.worker import FROM_INPUT

if TYPE_CHECKING:
    from vlbench.runs.watch import View

LAUNCHERS = {
    "local": "vlbench.runs.local:LocalLauncher",
    "slurm": "vlbench.runs.slurm:SlurmLauncher",
}
KILL_SECONDS = 45.0
"""From the request to stop to SIGKILL."""


@dataclass(frozen=True, slots=True)
class Resources:
    """How runs are executed; nothing of it is part of a key."""

    launcher: str = "local"
    devices: str = "auto"
    """auto, cpu, or GPUs' numbers with commas between."""
    jobs: int = 1
    """Runs at once on the CPU."""
    processes: int = 1
    """Processes that share one run, on GPUs of their own where the machine has any."""
    time_limit_minutes: float | None = None
    slurm: SlurmSettings = field(default_factory=SlurmSettings)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a plan ended."""

    spec: RunSpec
    folder: RunFolder
    status: str
    """One of the states of a run."""
    exit_code: int = 0
    """The command line's exit code for it."""
    error: str = ""


class Launcher(ABC):
    """Starts the workers of a plan, and follows them to their end."""

    device: str
    """What its workers compute on: cuda or cpu."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    @abstractmethod
    def dry_run(self, specs: Sequence[RunSpec], results: Path) -> str:
        """The commands or scripts it would start; writes nothing."""

    @contextmanager
    def warm(self) -> Iterator[None]:
        """Prepare, within the context, what the runs need that are planned in it."""
        yield

    @abstractmethod
    def work(self, runs: Sequence[tuple[RunSpec, RunFolder]]) -> None:
        """Do these runs; call `end` for every one."""

    def run(self, specs: Sequence[RunSpec], results: Path, view: View) -> list[Outcome]:
        """Do what is not done yet, and what was cancelled; the outcomes are in the specs' order."""
        self.results, self.view = results, view
        self.outcomes: dict[str, Outcome] = {}
        to_do = []
        for spec in specs:
            folder = RunFolder.of(results, spec)
            if folder.is_done:
                folder.settle()  # it may have been killed after its result
                view.say(f"{spec.name}: done before, {folder.stored}")
                self.outcomes[spec.key] = Outcome(spec, folder, "done")
                continue
            if folder.cancel_file.exists() and not folder.lock.is_locked:
                folder.cancel_file.unlink(missing_ok=True)
            try:
                folder.create(spec)
                to_do.append((spec, folder))
            except VlbenchError as error:  # the other runs of the plan are done all the same
                view.say(f"{spec.name}: not started: {error}")
                code = error.exit_code
                self.outcomes[spec.key] = Outcome(spec, folder, "failed", code, str(error))
        try:
            self.work(to_do)
        finally:
            view.close()
        return [self.outcomes[spec.key] for spec in specs]

    def end(self, outcome: Outcome) -> None:
        """Keep and show how a run ended."""
        self.outcomes[outcome.spec.key] = outcome
        why = f": {outcome.error}" if outcome.error not in ("", outcome.status) else ""
        self.view.ended(outcome.spec, outcome.folder, f"{outcome.status}{why}")


def find_launcher(resources: Resources) -> Launcher:
    """The launcher of that name."""
    if resources.launcher not in LAUNCHERS:
        known = nearest(resources.launcher, LAUNCHERS)
        raise UsageError(f"Unknown launcher '{resources.launcher}'. {known}")
    module, _, name = LAUNCHERS[resources.launcher].partition(":")
    launcher: Launcher = getattr(import_module(module), name)(resources)
    return launcher


def outcome_of(spec: RunSpec, folder: RunFolder) -> Outcome:
    """How a run that nobody works on any more ended, as its folder tells."""
    state, status = folder.state, folder.status()
    if state == "done":
        return Outcome(spec, folder, "done")
    default = INTERRUPTED if state in ("cancelled", "preempted") else RunFailed.exit_code
    code = failure_code(status.get("exit_code"), default)
    return Outcome(spec, folder, state, code, short_error(status) or state)


def failure_code(code: object, default: int = RunFailed.exit_code) -> int:
    """The exit code of a run that is not done, from what its worker ended with or wrote down."""
    return code if isinstance(code, int) and code in (1, 2, 3, 4, 5, INTERRUPTED) else default


def unexplained(folder: RunFolder, code: int) -> str:
    """What became of a run whose worker could not write it down: its code and last line."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"its process was killed ({name})" + ": out of memory?" * (name == "SIGKILL")
    lines = Tail(folder.log, is_whole=True).lines(is_over=True) or ["its log is empty"]
    return f"its worker ended with {code} and left no result: {without_time(lines[-1])}"


class WorkerProcess:
    """A worker in a session of its own, so that a signal to us does not reach it by itself.

    Without a folder it imports its libraries, and waits for one to `take`.
    """

    def __init__(
        self,
        folder: RunFolder | None,
        where: str,
        environment: Mapping[str, str],
        processes: int = 1,
    ) -> None:
        self.reason, self._stopped_at = "", 0.0
        with folder.log.open("ab") if folder else open(os.devnull, "wb") as log:
            self.process = subprocess.Popen(
                worker_command(folder, where, processes),
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def take(self, folder: RunFolder) -> bool:
        """Have it do this run; False where it has ended."""
        return self.process.poll() is None and self._write(
            os.fsencode(folder.path.absolute()) + b"\0"
        )

    def _write(self, text: bytes) -> bool:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(text)
            self.process.stdin.flush()
            return True
        return False

    def poll(self) -> int | None:
        """Return its exit code when it has ended; end one that does not stop as requested."""
        code = self.process.poll()
        if code is not None:
            self.process.communicate()  # closes our end of its input
        elif self.reason and time.monotonic() - self._stopped_at > KILL_SECONDS:
            self.kill()
        return code

    def stop(self, reason: str) -> None:
        """Tell it to stop, once, and why: `cancelled`, `timeout` or `preempted`."""
        if not self.reason:
            self.reason, self._stopped_at = reason, time.monotonic()
            self._write(f"{reason}\n".encode())

    def kill(self) -> None:
        """End it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def worker_command(folder: RunFolder | None, where: str, processes: int = 1) -> list[str]:
    """The command of a worker; one that is not launched, but started by hand, is nowhere."""
    path = str(folder.path.absolute()) if folder else FROM_INPUT
    command = [sys.executable, "-P", "-m", "vlbench.worker", path]
    command += ["--launched", where] if where else []
    return [*command, "--processes", str(processes)] if processes > 1 else command
