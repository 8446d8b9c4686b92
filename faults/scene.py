"""One results folder that is disturbed: its commands, its faults, and what must hold after each."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from faults.damage import DAMAGES
from faults.judging import Loss, Tally, differences, partial_files
from faults.processes import Command, Plan, Worker, workers_of
from vlbench.runs.folder import RunFolder

GONE_SECONDS = 20.0
"""Workers of a dead launcher must be gone by then; they may be importing torch."""
CHECKPOINT_SECONDS = ("0", "0.3", "1")
"""How often a disturbed worker keeps a checkpoint: drawn for each command."""
BUG = r"Traceback \(most recent call last\)|SIG(?!KILL)[A-Z]+"
"""What no command may print."""
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
        self._damaged: dict[Path, bytes] = {}
        """File -> what we left of it."""

    def start(self) -> Command:
        """Start the command, with a clock that jumps; the same words each time."""
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
            command.process.kill()
            command.process.wait()
        for worker in self.workers():
            worker.kill()

    def workers(self) -> list[Worker]:
        """The workers that are alive."""
        return workers_of(self.results)

    def has_trained(self, worker: Worker) -> bool:
        """Whether this very attempt has made a step."""
        status = RunFolder(worker.run).status()
        return status.get("pid") == worker.pid and status.get("phase") == "training"

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
                    begun = sum(Worker(pid, run).has_begun for run in self.runs())
                    self.tally.count(f"SIGKILL {order.replace(',', ' ')}", begun)

    def runs(self) -> list[Path]:
        """The run folders."""
        return sorted(self.results.glob("runs/*"))

    @property
    def is_done(self) -> bool:
        """Whether every run has its result."""
        return sum(RunFolder(run).is_done for run in self.runs()) == self.plan.runs

    def damage(self, kind: str) -> bool:
        """Damage a file of a run that is not done; False where there is none of that kind."""
        runs = [run for run in self.runs() if not RunFolder(run).is_done]
        self.random.shuffle(runs)
        pattern, act = DAMAGES[kind]
        for run in runs:
            file = max(run.glob(pattern), default=None) if pattern != "." else run
            if file is None or file in self._damaged or not file.stat().st_size:
                continue
            act(file, self.random)
            if file.is_file():
                self._damaged[file] = file.read_bytes()
            self.tally.count(kind)
            return True
        return False

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
        ours = [f for f, text in self._damaged.items() if f.is_file() and f.read_bytes() == text]
        faults = [
            text
            for text in partial_files(self.results)
            if not any(text.startswith(f"{file}:") for file in ours)
        ]
        if faults:
            raise Loss("\n".join(faults))

    def expect_no_bug(self, command: Command) -> None:
        """A traceback is a bug, and so is a worker that dies without our doing."""
        if match := re.search(BUG, command.text):
            raise Loss(f"'{match[0]}' in {command.output}")

    def judge(self) -> None:
        """Compare with the undisturbed results; every damaged checkpoint must be in the log."""
        faults = differences(self.plan.truth, self.results)
        for file in self._damaged:
            log = file.parents[1] / "log.txt"
            if file.suffix == ".pt" and f"{file.name}: damaged" not in log.read_text("utf-8"):
                faults.append(f"{file}: was damaged, but the log does not say so")
        for run in self.runs():
            if "Traceback (most recent call last)" in (run / "log.txt").read_text("utf-8"):
                faults.append(f"{run / 'log.txt'}: a traceback")
        for text in faults:
            self.lost(text)

    def lost(self, what: object) -> None:
        """Something happened that must not."""
        self.has_lost = True
        self.tally.losses.append(f"{self.results.name}: {what}")
        print(f"LOSS: {what}", file=sys.stderr, flush=True)
