"""Run the specs of a plan one after another, each in a worker process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vlbench.errors import INTERRUPTED, MissingError, RunFailed
from vlbench.running.folder import RunFolder
from vlbench.running.spec import RunSpec

PATIENCE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a plan ended."""

    spec: RunSpec
    folder: RunFolder
    code: int
    """What the worker returned; the negative number of the signal that killed it."""
    was_done: bool

    @property
    def exit_code(self) -> int:
        """The command line's exit code for it."""
        return self.code if self.code >= 0 else RunFailed.exit_code

    @property
    def error(self) -> str:
        """The end of what a failed run said."""
        if self.code < 0:
            return f"its process was killed ({signal.Signals(-self.code).name}): out of memory?"
        said = str(self.folder.status().get("error", "")).splitlines()
        return said[-1] if said else f"exit code {self.code}"


def run_all(
    specs: Sequence[RunSpec], results: Path, say: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """Run what is not done yet; a failed run does not stop the others, a missing thing does."""
    outcomes = []
    for number, spec in enumerate(specs, start=1):
        folder = RunFolder.of(results, spec)
        if folder.is_done:
            say(f"[{number}/{len(specs)}] {spec.name}: done before, {folder.path}")
            outcomes.append(Outcome(spec, folder, 0, was_done=True))
            continue
        say(f"[{number}/{len(specs)}] {spec.name}: {folder.path}")
        folder.create(spec)
        code = _work(folder)
        if code in (INTERRUPTED, -signal.SIGINT):
            raise KeyboardInterrupt
        outcomes.append(Outcome(spec, folder, code, was_done=False))
        if code == MissingError.exit_code:
            break
    return outcomes


def _work(folder: RunFolder) -> int:
    """What the worker returns; an interrupt reaches it too and is waited for."""
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", **os.environ}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "vlbench.worker", str(folder.path)]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),  # stdout is for the answer
        start_new_session=True,
    )  # a session of its own: Ctrl-C reaches it once, through us
    terminated = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        return process.wait()
    except BaseException:
        _stop(process)
        raise
    finally:
        signal.signal(signal.SIGTERM, terminated)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Tell the worker to go and wait for its end; a second Ctrl-C or too long a wait kills it."""
    process.terminate()  # not SIGINT: what is started in the background ignores that
    with suppress(subprocess.TimeoutExpired):
        try:
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
