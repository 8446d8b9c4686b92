"""Launchers: what starts the workers of a plan, and follows them to their end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vlbench.config import SlurmSettings
from vlbench.errors import (
    INTERRUPTED,
    RunFailed,
    UsageError,
    VlbenchError,
    nearest,
    system_message,
)
from vlbench.lock import LockedError
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.runs.state import short_error

if TYPE_CHECKING:
    from vlbench.runs.watch import View

LAUNCHERS = {
    "local": "vlbench.runs.launchers.local:LocalLauncher",
    "slurm": "vlbench.runs.launchers.slurm:SlurmLauncher",
}


FAILURES = (1, 2, 3, 4, 5, INTERRUPTED)
"""The command line's exit codes for what is not done (docs/cli.md)."""


@dataclass(frozen=True, slots=True)
class Resources:
    """How runs are executed; nothing of it is part of a key."""

    launcher: str = "local"
    devices: str = "auto"
    """auto, cpu, or GPUs' numbers with commas between."""
    jobs: int = 1
    """Runs at once on the CPU."""
    processes: int = 1
    """Processes, each with a GPU of its own where there are any, that share one run."""
    time_limit_minutes: float | None = None
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    detach: bool = False
    """Submit to the cluster and do not wait."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a plan ended."""

    spec: RunSpec
    folder: RunFolder
    status: str
    """One of the states of a run."""
    exit_code: int
    """The command line's exit code for it."""
    error: str = ""
    was_done: bool = False

    @property
    def told(self) -> str:
        """How it ended, and why where that is not all there is to say."""
        why = self.error.removeprefix(f"{self.status}: ")
        return f"{self.status}: {why}" if self.exit_code and why != self.status else self.status


class Launcher(Protocol):
    """Starts workers."""

    def __init__(self, resources: Resources) -> None: ...

    @property
    def device(self) -> str:
        """What its workers compute on: cuda, or cpu."""

    def run(self, specs: Sequence[RunSpec], results: Path, view: View) -> list[Outcome]:
        """Do what is not done yet and tell how each ended, in the order of the specs."""

    def dry_run(self, specs: Sequence[RunSpec], results: Path) -> str:
        """The commands or scripts it would start; writes nothing."""


def find_launcher(resources: Resources) -> Launcher:
    """The launcher of that name."""
    if resources.launcher not in LAUNCHERS:
        known = nearest(resources.launcher, LAUNCHERS)
        raise UsageError(f"Unknown launcher '{resources.launcher}'. {known}")
    module, _, name = LAUNCHERS[resources.launcher].partition(":")
    launcher: Launcher = getattr(import_module(module), name)(resources)
    return launcher


def launch(
    specs: Sequence[RunSpec], results: Path, resources: Resources, view: View
) -> list[Outcome]:
    """Do the runs of a plan; what was asked to be cancelled before may run again."""
    launcher = find_launcher(resources)
    try:
        for spec in specs:
            folder = RunFolder.of(results, spec)
            if folder.is_cancel_asked and not folder.lock.is_locked:
                folder.forget_cancel()
        return launcher.run(specs, results, view)
    except OSError as error:
        raise RunFailed(f"{system_message(error, results)}: cannot be written") from None
    finally:
        view.close()


def known_before(spec: RunSpec, folder: RunFolder, view: View) -> Outcome | None:
    """The outcome of a run that needs no worker, or cannot have one; None where one is to do it.

    A run that has its result is done; what it was killed in is finished. The folder of one that is
    to be done is there afterwards.
    """
    if not folder.is_done:
        try:
            folder.create(spec)
        except VlbenchError as error:  # the other runs of the plan are done all the same
            view.say(f"{spec.name}: not started: {error}")
            return Outcome(spec, folder, "failed", error.exit_code, str(error))
        return None
    if not folder.is_settled:
        with suppress(LockedError, OSError), folder.lock.acquire():
            folder.settle()
    view.say(f"{spec.name}: done before, {folder.path}")
    return outcome_of(spec, folder, was_done=True)


def outcome_of(spec: RunSpec, folder: RunFolder, was_done: bool = False) -> Outcome:
    """How a run that nobody works on any more ended, as its folder tells."""
    state = folder.state
    if state == "done":
        return Outcome(spec, folder, "done", 0, was_done=was_done)
    status = folder.status()
    default = INTERRUPTED if state in ("cancelled", "preempted") else RunFailed.exit_code
    code = failure(status.get("exit_code"), default)
    return Outcome(spec, folder, state, code, short_error(status) or state)


def failure(code: object, default: int = RunFailed.exit_code) -> int:
    """The exit code for a run that is not done, from what a worker ended with or wrote down.

    Whatever that is: success is what the run's folder says, and 256 would be one for the system.
    """
    return code if isinstance(code, int) and code in FAILURES else default
