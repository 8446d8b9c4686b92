"""Run the specs of a plan one after another, each in a worker process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlbench.errors import MissingError
from vlbench.running.folder import RunFolder
from vlbench.running.spec import RunSpec

INTERRUPTED = 130
PATIENCE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a plan ended."""

    spec: RunSpec
    folder: RunFolder
    exit_code: int
    was_done: bool

    @property
    def error(self) -> str:
        """What a failed run said."""
        return str(self.folder.status().get("error", "")) if self.exit_code else ""


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
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        outcomes.append(Outcome(spec, folder, code, was_done=False))
        if code == MissingError.exit_code:
            break
    return outcomes


def _work(folder: RunFolder) -> int:
    """The worker's exit code; an interrupt reaches it too and is waited for."""
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", **os.environ}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "vlbench.worker", str(folder.path)]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )  # a session of its own: Ctrl-C reaches it once, through us
    try:
        code = process.wait()
    except BaseException:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    return code if code >= 0 else 128 - code  # by a signal: as a shell has it
