"""One results folder that is disturbed: its commands, its faults, and what must hold after each."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from faults.bench import Plan
from faults.damage import (
    CHECKPOINT_DAMAGES,
    SHIFTED,
    TORN,
    newest_checkpoint,
    shift_times,
    tear,
)
from faults.judging import differences, partial_files
from faults.losses import Loss, Tally
from faults.moments import Aim, read_status
from faults.processes import Command, Worker, workers_of

GONE_SECONDS = 20.0
"""Workers of a dead launcher must be gone by then; they may be importing torch."""
CHECKPOINT_SECONDS = ("0", "0.3", "1")
"""How often a disturbed worker keeps a checkpoint: drawn for each command."""
BUGS = (r"Traceback \(most recent call last\)", r"SIG(?!KILL)[A-Z]+")
"""Words that no command may print."""
INSIDE = Path(__file__).parent / "inside"


class Scene:
    """A results folder, the plan that is run in it again and again, and the dice."""

    def __init__(self, plan: Plan, results: Path, tally: Tally, random: Random) -> None:
        self.plan = plan
        self.results = results
        self.tally = tally
        self.random = random
        self.commands = 0
        self.has_lost = False
        self.running: list[Command] = []
        self.orders = plan.folder / "orders" / results.name
        for name in ("given", "done"):
            (self.orders / name).mkdir(parents=True)
        self._damaged: list[tuple[Path, Path]] = []
        self._torn: dict[Path, bytes] = {}

    # Commands ----------------------------------------------------------------------------------

    def start(self) -> Command:
        """The command, with a clock that jumps; the same words each time."""
        self.commands += 1
        environment = self.plan.environment(
            PYTHONPATH=os.pathsep.join((str(INSIDE), self.plan.pythonpath)),
            FAULTS_ORDERS=str(self.orders),
            VLBENCH_CHECKPOINT_SECONDS=self.random.choice(CHECKPOINT_SECONDS),
        )
        output = self.plan.folder / f"{self.results.name}-{self.commands:03}.txt"
        command = Command(self.plan.words(self.results), environment, output)
        self.running.append(command)
        return command

    def stop_all(self) -> None:
        """End what was started; workers end with their launcher."""
        for command in self.running:
            if command.process.poll() is None:
                command.process.kill()
                command.process.wait()
        for worker in self.workers():
            worker.kill()

    def workers(self) -> list[Worker]:
        """Those alive."""
        return workers_of(self.results)

    def aim(self, moment: str, worker: Worker) -> Aim:
        """When to kill a worker."""
        return Aim(moment, worker, self.random, self.plan.steps_per_epoch, self.status)

    def status(self, run: Path) -> dict[str, object]:
        """What status.json says; a part of it is a loss, unless it was us."""
        file = run / "status.json"
        return {} if _same(file, self._torn.get(file)) else read_status(run)

    # Orders to die at a rename -----------------------------------------------------------------

    @contextmanager
    def ordered(self, orders: list[str]) -> Iterator[None]:
        """Have these deaths happen while this lasts; what did not stays in the list."""
        given, done = self.orders / "given", self.orders / "done"
        for order in orders:
            (given / order).touch()
        try:
            yield
        finally:
            for order in list(orders):
                (given / order).unlink(missing_ok=True)
                if (done / order).exists():
                    pid = int((done / order).read_text() or 0)
                    (done / order).unlink()
                    orders.remove(order)
                    self.tally.count(f"SIGKILL {describe(order)}", self._has_begun(pid))

    def _has_begun(self, pid: int) -> int:
        return sum(Worker(pid, run).has_begun for run in self.runs())

    # Files -------------------------------------------------------------------------------------

    def runs(self, is_done: bool | None = None) -> list[Path]:
        """The run folders, all of them, or those that have their result or not."""
        folders = sorted(self.results.glob("runs/*"))
        return [
            folder
            for folder in folders
            if is_done is None or (folder / "result.parquet").is_file() == is_done
        ]

    @property
    def is_done(self) -> bool:
        """Whether every run has its result."""
        return len(self.runs(is_done=True)) == self.plan.runs

    def damage(self, kind: str) -> bool:
        """Damage a file of a run that is not done; False where there is none of that kind."""
        runs = self.runs(is_done=False)
        self.random.shuffle(runs)
        for run in runs:
            if kind == SHIFTED:
                shift_times(run, self.random)
            elif kind in CHECKPOINT_DAMAGES:
                file = newest_checkpoint(run)
                if file is None or file in [damaged for damaged, _ in self._damaged]:
                    continue
                CHECKPOINT_DAMAGES[kind](file, self.random)
                self._damaged.append((file, run))
            else:
                file = run / TORN[kind]
                if not file.is_file() or not file.stat().st_size:
                    continue
                tear(file, self.random)
                self._torn[file] = file.read_bytes()
            self.tally.count(kind)
            return True
        return False

    # What must hold ----------------------------------------------------------------------------

    def expect_gone(self) -> None:
        """No worker outlives its launcher by more than seconds, and no file is a part."""
        since = time.monotonic()
        while left := self.workers():
            if time.monotonic() - since > GONE_SECONDS:
                for worker in left:
                    worker.kill()
                raise Loss(f"workers without a launcher after {GONE_SECONDS:.0f} s: {left}")
            time.sleep(0.02)
        self.tally.gone_seconds = max(self.tally.gone_seconds, time.monotonic() - since)
        self._expect_whole()

    def _expect_whole(self) -> None:
        ours = {file for file, _ in self._damaged}
        ours |= {file for file, torn in self._torn.items() if _same(file, torn)}
        faults = [
            text
            for text in partial_files(self.results)
            if not any(text.startswith(f"{file}:") for file in ours)
        ]
        if faults:
            raise Loss("\n".join(faults))

    def expect_no_bug(self, command: Command) -> None:
        """A traceback is a bug, and so is a worker that dies without our doing."""
        for sign in BUGS:
            if found := re.search(sign, command.said):
                raise Loss(f"'{found[0]}' in {command.output}")

    def judge(self) -> None:
        """Compare with the undisturbed results; every damaged checkpoint must have been told."""
        faults = differences(self.plan.truth, self.results)
        for file, run in self._damaged:
            log = (run / "log.txt").read_text(encoding="utf-8", errors="replace")
            if not any(file.name in line and "damaged" in line for line in log.splitlines()):
                faults.append(f"{file}: was damaged, but the log does not say so")
        for run in self.runs():
            if "Traceback (most recent call last)" in "\n".join(_lines(run / "log.txt")):
                faults.append(f"{run / 'log.txt'}: a traceback")
        for text in faults:
            self.lost(text)

    def lost(self, what: object) -> None:
        """Something happened that must not."""
        self.has_lost = True
        self.tally.losses.append(f"{self.results.name}: {what}")
        print(f"LOSS: {what}", file=sys.stderr, flush=True)

    def keep(self, place: Path) -> None:
        """Copy the results to where they outlast the small disk."""
        shutil.copytree(self.results, place, dirs_exist_ok=True)


def describe(order: str) -> str:
    """An order in words."""
    when, _, pattern = order.partition(",")
    name = {"step-*.pt": "a checkpoint"}.get(pattern, pattern)
    return {
        "half": f"in the middle of writing {name}",
        "before": f"right before the rename to {name}",
        "after": f"right after the rename to {name}",
        "torn": f"right after the rename to {name}, in the event `done`",
        "unlink": f"right before {name} is removed",
        "rmdir": f"right before the folder {name} is removed",
    }[when]


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []


def _same(file: Path, content: bytes | None) -> bool:
    return content is not None and file.is_file() and file.read_bytes() == content
