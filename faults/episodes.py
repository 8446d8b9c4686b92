"""A command and what is done to it: killed, told to stop, left without space, left alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from faults.deck import (
    FULL,
    INTERRUPTED,
    INTERRUPTED_TWICE,
    KILLED_LAUNCHER,
    ONE_OF_TWO,
    READ_ONLY,
    TERMINATED,
    Deck,
)
from faults.disk import SmallDisk
from faults.losses import Loss
from faults.moments import IN_TRAINING, Aim
from faults.processes import Command, attempts_of
from faults.scene import Scene

PLANS, STARTS, TRAINS = "while it plans", "while workers start", "while workers train"
LAUNCHERS_MOMENTS = (PLANS, STARTS, TRAINS, TRAINS)
ORDERS_AT_ONCE = 2
TELLING_SECONDS = 60.0
"""A command that was told to stop or lacks something has ended by then."""


def kill_workers(scene: Scene, deck: Deck) -> None:
    """Kill each worker that one command starts, from outside or at a rename."""
    orders = [deck.orders.pop() for _ in range(min(ORDERS_AT_ONCE, len(deck.orders)))]
    aims: dict[int, Aim] = {}
    spared: list[str] = []
    with scene.ordered(orders):
        command = scene.start()
        while command.is_running():
            alive = {worker.pid: worker for worker in scene.workers()}
            for pid in alive.keys() - aims.keys():
                if deck.moments:
                    aims[pid] = scene.aim(deck.moments.pop(), alive[pid])
            for pid in [pid for pid, aim in aims.items() if not aim.is_dealt]:
                if pid not in alive:  # it ended before its moment
                    spared.append(aims.pop(pid).moment)
                elif aims[pid].is_now():
                    scene.tally.count(aims[pid].moment, alive[pid].has_begun)
                    aims[pid].deal()
            time.sleep(0.005)
        scene.expect_gone()
    deck.orders[:0] = orders
    deck.moments[:0] = [
        *spared,
        *(aim.moment for aim in aims.values() if not aim.is_dealt),
    ]
    if command.process.returncode == 0 and not scene.is_done:
        raise Loss(f"exit code 0, but not every run is done: {command.output}")
    _expect_code(command, {0, 1, -signal.SIGKILL})
    scene.expect_no_bug(command)


def kill_launcher(scene: Scene, fault: str) -> bool:
    """SIGKILL of the launcher at any time; its workers must go by themselves."""
    command = scene.start()
    _let_run(scene, command)
    return _strike(scene, command, fault, signal.SIGKILL, {-signal.SIGKILL})


def terminate(scene: Scene, fault: str) -> bool:
    """SIGTERM of the launcher, once it has workers."""
    command = scene.start()
    _let_run(scene, command, STARTS, TRAINS)
    return _strike(scene, command, fault, signal.SIGTERM, {130})


def interrupt(scene: Scene, fault: str) -> bool:
    """Ctrl-C, once or twice."""
    command = scene.start()
    _let_run(scene, command, STARTS, TRAINS)
    again = scene.random.uniform(0.05, 0.5) if fault == INTERRUPTED_TWICE else None
    return _strike(scene, command, fault, signal.SIGINT, {130}, again)


def fill_disk(scene: Scene, fault: str, disk: SmallDisk) -> bool:
    """Not a byte is free."""
    return _starve(scene, fault, disk.full(), "No space left on device")


def make_read_only(scene: Scene, fault: str, disk: SmallDisk) -> bool:
    """Nothing can be opened to be written."""
    return _starve(scene, fault, disk.read_only(scene.results), "Read-only file system")


def kill_one_of_two(scene: Scene, fault: str) -> bool:
    """Two commands of one plan, one of which dies: the other one does it all."""
    first, second = scene.start(), scene.start()
    _let_run(scene, first)
    if first.process.poll() is not None:
        second.wait()
        return False
    first.signal(signal.SIGKILL)
    scene.tally.count(fault)
    if code := second.wait():
        raise Loss(f"the other command ends with {code}: {second.output}")
    scene.expect_gone()
    scene.expect_no_bug(second)
    if not scene.is_done:
        raise Loss(f"exit code 0, but not every run is done: {second.output}")
    return True


def run_twice_at_once(scene: Scene) -> None:
    """Two commands started together do what is left, each run once, and both say so."""
    before = {run: _begun(run) for run in scene.runs()}
    commands = [scene.start(), scene.start()]
    codes = [command.wait() for command in commands]
    scene.expect_gone()
    for command, code in zip(commands, codes, strict=True):
        scene.expect_no_bug(command)
        if code:
            raise Loss(f"one of two commands ends with {code}: {command.output}")
    if not scene.is_done:
        raise Loss(f"two commands ended with 0, but not every run is done: {commands[0].output}")
    for run in scene.runs():
        if _begun(run) > before.get(run, 0) + 1:
            raise Loss(f"{run}: two commands started together did it twice")
    scene.tally.count("two commands started together")


EPISODES: dict[str, Callable[[Scene, str], bool]] = {
    KILLED_LAUNCHER: kill_launcher,
    TERMINATED: terminate,
    INTERRUPTED: interrupt,
    INTERRUPTED_TWICE: interrupt,
    ONE_OF_TWO: kill_one_of_two,
}
DISK_EPISODES: dict[str, Callable[[Scene, str, SmallDisk], bool]] = {
    FULL: fill_disk,
    READ_ONLY: make_read_only,
}
"""Each returns whether its fault was dealt; it is not where the plan was done before."""


def _let_run(scene: Scene, command: Command, *moments: str) -> None:
    """Until one of these moments, which is drawn, and a random while after it."""
    moment = scene.random.choice(moments or LAUNCHERS_MOMENTS)
    delay, since = scene.random.uniform(0, 3), None
    while command.is_running():
        if since is None and _is_there(scene, moment):
            since = time.monotonic()
        if since is not None and time.monotonic() > since + delay:
            return
        time.sleep(0.01)


def _is_there(scene: Scene, moment: str) -> bool:
    workers = scene.workers()
    if moment == TRAINS:
        return any(scene.aim(IN_TRAINING, worker).has_trained() for worker in workers)
    return moment == PLANS or bool(workers)


def _strike(
    scene: Scene,
    command: Command,
    fault: str,
    number: signal.Signals,
    codes: set[int],
    again: float | None = None,
) -> bool:
    """Send the signal, and see that everything ends; an ordinary end leaves no worker behind."""
    if not command.is_running():
        return False
    lost = sum(worker.has_begun for worker in scene.workers())
    command.signal(number)
    if again is not None:
        time.sleep(again)
        if command.is_running():
            command.signal(number)
    _expect_end(command)
    left = scene.workers() if number != signal.SIGKILL else []
    if command.process.returncode == 0 and scene.is_done:
        return False  # it had just ended by itself
    scene.expect_gone()
    if left:
        raise Loss(f"{fault}: the launcher ended before its workers {left}")
    _expect_code(command, codes)
    scene.expect_no_bug(command)
    scene.tally.count(fault, lost)
    return True


def _starve(scene: Scene, fault: str, lack: AbstractContextManager[None], words: str) -> bool:
    """The command must end with a clear message while this is lacking."""
    command = scene.start()
    _let_run(scene, command, STARTS, TRAINS)
    if not scene.runs() or not command.is_running():
        command.wait()
        return False
    lost = sum(worker.has_begun for worker in scene.workers())
    with lack:
        _expect_end(command)
        if command.process.returncode == 0 and scene.is_done:
            return False
        scene.expect_gone()
    _expect_code(command, {1, 3})
    scene.expect_no_bug(command)
    if words not in command.said:
        raise Loss(f"{fault}: '{words}' is nowhere in {command.output}")
    scene.tally.count(fault, lost)
    return True


def _expect_end(command: Command) -> None:
    since = time.monotonic()
    while command.is_running():
        if time.monotonic() - since > TELLING_SECONDS:
            command.process.kill()
            raise Loss(f"has not ended after {TELLING_SECONDS:.0f} s: {command.output}")
        time.sleep(0.02)


def _expect_code(command: Command, codes: set[int]) -> None:
    if (code := command.process.returncode) not in codes:
        raise Loss(f"exit code {code} instead of one of {sorted(codes)}: {command.output}")


def _begun(run: Path) -> int:
    return sum(line["event"] == "began" for line in attempts_of(run))
