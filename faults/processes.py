"""The plan that is run, `vlbench run` as a process, and its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from faults.judging import Loss
from tests.runs.builders import make_bench
from vlbench.runs.folder import RunFolder

HANGS_SECONDS = 240.0
"""No command of this test takes so long."""
METHODS = ("shared-adapter", "compacter", "full")
SETTINGS = ("train.epochs=30", "train.batch_size=30", "train.dropout=0.1")


class Plan:
    """Words and environment of the command, and what it ends in when nobody disturbs it."""

    def __init__(self, folder: Path, methods: int, seeds: int) -> None:
        self.folder = folder
        self.methods, self.seeds = METHODS[:methods], seeds
        self.runs = methods * seeds
        self.truth = folder / "undisturbed"
        self.pythonpath = str(Path(__file__).parents[1])
        (folder / "bench").mkdir()
        self.bench = make_bench(folder / "bench")

    def words(self, results: Path) -> list[str]:
        """The command line after `vlbench`."""
        return [
            *("run", "--method", ",".join(self.methods), "--tasks", "vqav2,nlvr2"),
            *("--seeds", ",".join(map(str, range(self.seeds)))),
            *("--backbone-path", str(self.bench.backbone), "--root", str(self.bench.root)),
            *(word for setting in SETTINGS for word in ("--set", setting)),
            *("--devices", "cpu", "--jobs", "2", "--results", str(results)),
        ]

    def environment(self, **more: str) -> dict[str, str]:
        """Ours without any configuration of the user, and a cache of its own."""
        ours = {name: text for name, text in os.environ.items() if not name.startswith("VLBENCH_")}
        return {
            **ours,
            "PYTHONPATH": self.pythonpath,
            "VLBENCH_CACHE": str(self.folder / "cache"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "NO_COLOR": "1",
            **more,
        }

    def run_undisturbed(self) -> float:
        """Make the results that all others are compared with; returns the seconds that took."""
        output = self.folder / "undisturbed.txt"
        command = Command(self.words(self.truth), self.environment(), output)
        if code := command.wait():
            raise Loss(f"the undisturbed command ends with {code}:\n{command.text}")
        return time.monotonic() - command.began


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
        lines = RunFolder(self.run).record()
        return any(line["event"] == "began" and line["pid"] == self.pid for line in lines)


def workers_of(results: Path) -> list[Worker]:
    """The workers that are alive, for runs of a results folder; known by the logs they write to."""
    workers = []
    for entry in os.scandir("/proc"):
        with suppress(OSError):  # it has just ended
            with open(f"{entry.path}/cmdline", "rb") as file:
                is_worker = b"vlbench.worker" in file.read().split(b"\0")
            log = os.readlink(f"{entry.path}/fd/1") if is_worker else ""
            if log.startswith(f"{results}/"):
                workers.append(Worker(int(entry.name), Path(log).parent))
    return workers


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
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # a shell has what it starts in the background ignore Ctrl-C
        self.began = time.monotonic()

    @property
    def text(self) -> str:
        """All it has printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def is_running(self) -> bool:
        """Whether it goes on; one that never ends is a loss."""
        if self.process.poll() is not None:
            return False
        if time.monotonic() - self.began > HANGS_SECONDS:
            self.process.kill()
            raise Loss(f"a command hangs: {self.output}")
        return True

    def wait(self) -> int:
        """Its exit code."""
        while self.is_running():
            time.sleep(0.05)
        return int(self.process.returncode)
