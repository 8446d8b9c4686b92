"""A command and what is done to it: killed, told to stop, left without space, left alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from faults.deck import (
    FULL,
    INTERRUPTED,
    KILLED_LAUNCHER,
    MOMENTS,
    ONE_OF_TWO,
    READ_ONLY,
    TERMINATED,
    Deck,
)
from faults.disk import SmallDisk
from faults.judging import Loss
from faults.processes import Command, Worker
from faults.scene import Scene
from vlbench.runs.folder import RunFolder

ORDERS_AT_ONCE = 2
END_SECONDS = 60.0
"""A command that was told to stop or lacks something has ended by then."""


@dataclass
class Aim:
    """A worker that is to die at its moment."""

    moment: str
    worker: Worker
    delay: float
    since: float | None = None
    is_dealt: bool = False

    def is_now(self, scene: Scene) -> bool:
        """Whether the moment, and a random while after it, has come."""
        needs_training = MOMENTS[self.moment][0]
        if self.since is None and (not needs_training or scene.has_trained(self.worker)):
            self.since = time.monotonic()
        return self.since is not None and time.monotonic() - self.since >= self.delay


def kill_workers(scene: Scene, deck: Deck) -> None:
    """Kill each worker that one command starts, from outside or at a rename."""
    orders = [deck.orders.pop() for _ in range(min(ORDERS_AT_ONCE, len(deck.orders)))]
    aims: dict[int, Aim] = {}
    with scene.ordered(orders):
        command = scene.start()
        while command.is_running():
            alive = {worker.pid: worker for worker in scene.workers()}
            for pid in alive.keys() - aims.keys():
                if deck.moments:
                    moment = deck.moments.pop()
                    delay = scene.random.uniform(0, MOMENTS[moment][1])
                    aims[pid] = Aim(moment, alive[pid], delay)
            for pid in [pid for pid, aim in aims.items() if not aim.is_dealt and pid in alive]:
                if aims[pid].is_now(scene):
                    scene.tally.count(aims[pid].moment, alive[pid].has_begun)
                    aims[pid].is_dealt = True
                    alive[pid].kill()
            time.sleep(0.005)
        scene.expect_gone()
    deck.orders[:0] = orders
    deck.moments[:0] = [aim.moment for aim in aims.values() if not aim.is_dealt]
    if command.process.returncode == 0 and not scene.is_done:
        raise Loss(f"exit code 0, but not every run is done: {command.output}")
    _expect_code(command, {0, 1, -signal.SIGKILL})
    scene.expect_no_bug(command)


def signal_launcher(scene: Scene, fault: str, disk: SmallDisk | None) -> bool:
    """Kill, terminate or interrupt the launcher; everything must end, its workers first."""
    number = {KILLED_LAUNCHER: signal.SIGKILL, TERMINATED: signal.SIGTERM}.get(fault, signal.SIGINT)
    command = scene.start()
    is_killed = number == signal.SIGKILL
    _let_run(scene, command, needs_workers=not is_killed)
    if not command.is_running():
        return False
    lost = sum(worker.has_begun for worker in scene.workers())
    command.process.send_signal(number)
    _expect_end(command)
    left = [] if is_killed else scene.workers()
    if command.process.returncode == 0 and scene.is_done:
        return False  # it had just ended by itself
    scene.expect_gone()
    if left:
        raise Loss(f"{fault}: the launcher ended before its workers {left}")
    _expect_code(command, {-signal.SIGKILL if is_killed else 130})
    scene.expect_no_bug(command)
    scene.tally.count(fault, lost)
    return True


def starve(scene: Scene, fault: str, disk: SmallDisk | None) -> bool:
    """Fill the disk or make it read-only: the command must end with a clear message."""
    command = scene.start()
    _let_run(scene, command, needs_workers=True)
    if not scene.runs() or not command.is_running():
        command.wait()
        return False
    lost = sum(worker.has_begun for worker in scene.workers())
    assert disk is not None
    with disk.full() if fault == FULL else disk.read_only(scene.results):
        _expect_end(command)
        if command.process.returncode == 0 and scene.is_done:
            return False
        scene.expect_gone()
    _expect_code(command, {1, 3})
    scene.expect_no_bug(command)
    words = "No space left on device" if fault == FULL else "Read-only file system"
    if words not in command.text:
        raise Loss(f"{fault}: '{words}' is nowhere in {command.output}")
    scene.tally.count(fault, lost)
    return True


def kill_one_of_two(scene: Scene, fault: str, disk: SmallDisk | None) -> bool:
    """Two commands of one plan, one of which dies: the other one does it all."""
    first, second = scene.start(), scene.start()
    _let_run(scene, first)
    if not first.is_running():
        second.wait()
        return False
    first.process.kill()
    scene.tally.count(fault)
    _expect_all_done(scene, [second])
    return True


def run_twice_at_once(scene: Scene) -> None:
    """Two commands started together do what is left, each run once, and both say so."""
    before = {run: RunFolder(run).attempts() for run in scene.runs()}
    _expect_all_done(scene, [scene.start(), scene.start()])
    for run in scene.runs():
        if RunFolder(run).attempts() > before.get(run, 0) + 1:
            raise Loss(f"{run}: two commands started together did it twice")
    scene.tally.count("two commands started together")


EPISODES: dict[str, Callable[[Scene, str, SmallDisk | None], bool]] = {
    KILLED_LAUNCHER: signal_launcher,
    TERMINATED: signal_launcher,
    INTERRUPTED: signal_launcher,
    ONE_OF_TWO: kill_one_of_two,
    FULL: starve,
    READ_ONLY: starve,
}
"""Each returns whether its fault was dealt; it is not where the plan was done before."""


def _let_run(scene: Scene, command: Command, needs_workers: bool = False) -> None:
    """Until it plans, has workers or trains, which is drawn, and a random while after that."""
    step = scene.random.choice((1, 2, 2) if needs_workers else (0, 1, 2, 2))
    delay, since = scene.random.uniform(0, 3), None
    while command.is_running():
        workers = scene.workers()
        has_come = step == 0 or (step == 1 and workers) or any(map(scene.has_trained, workers))
        if since is None and has_come:
            since = time.monotonic()
        if since is not None and time.monotonic() > since + delay:
            return
        time.sleep(0.01)


def _expect_all_done(scene: Scene, commands: list[Command]) -> None:
    codes = [command.wait() for command in commands]
    scene.expect_gone()
    for command, code in zip(commands, codes, strict=True):
        scene.expect_no_bug(command)
        if code or not scene.is_done:
            raise Loss(f"ends with {code} where every run should be done: {command.output}")


def _expect_end(command: Command) -> None:
    since = time.monotonic()
    while command.is_running():
        if time.monotonic() - since > END_SECONDS:
            command.process.kill()
            raise Loss(f"has not ended after {END_SECONDS:.0f} s: {command.output}")
        time.sleep(0.02)


def _expect_code(command: Command, codes: set[int]) -> None:
    if (code := command.process.returncode) not in codes:
        raise Loss(f"exit code {code} instead of one of {sorted(codes)}: {command.output}")
