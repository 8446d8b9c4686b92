"""Does vlbench lose or spoil a run, whatever happens to it?

`python -m faults [--kills N] [--seed S]`, from a checkout, does a small plan undisturbed. Then it
does the same plan again in fresh results folders while it kills workers and launchers, fills the
disk, makes it read-only, damages checkpoints and lets the clock jump, and starts the same command
until it ends with 0. Every run must then be done exactly once, with the undisturbed metrics,
predictions, weights and training curve. A loss ends it with 1 and keeps the folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from os import environ
from pathlib import Path
from random import Random

from faults.deck import DISK_FAULTS, TERMINATED, Deck, draw
from faults.disk import IN_OWN_NAMESPACE, SmallDisk, enter_namespace
from faults.episodes import EPISODES, kill_workers, run_twice_at_once
from faults.judging import Loss, Tally
from faults.processes import Plan
from faults.scene import Scene

DAMAGE_CHANCE = 0.5
"""Files are damaged before a command that often, where there are any of the kind."""
CLOCK = "clock that jumps by hours, in all processes of a round"
MOST_ROUNDS, MOST_COMMANDS = 12, 60


def main() -> int:
    """Disturb, compare, print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=(__doc__ or "")[:61])
    parser.add_argument("--kills", type=int, default=60, metavar="N", help="SIGKILLs to deal")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    options = parser.parse_args()
    enter_namespace()
    folder = Path(tempfile.mkdtemp(prefix="vlbench-faults-"))
    tally, random, started = Tally(), Random(options.seed), time.monotonic()
    disk = SmallDisk(folder / "small-disk") if IN_OWN_NAMESPACE in environ else None
    try:
        _disturb(options.kills, folder, disk, tally, random)
    except Loss as loss:
        tally.losses.append(str(loss))
    finally:
        if disk is not None:
            disk.remove()
    if tally.losses:
        note(f"what was left is kept: {folder}")
    else:
        shutil.rmtree(folder)
    note(f"seed {options.seed}, {time.monotonic() - started:.0f} s")
    print(tally.table())
    return 1 if tally.losses else 0


def _disturb(
    kills: int, folder: Path, disk: SmallDisk | None, tally: Tally, random: Random
) -> None:
    """Make the undisturbed results, then deal everything in as many rounds as it takes."""
    is_long = kills >= 20
    plan = Plan(folder, methods=3 if is_long else 2, seeds=2 if is_long else 1)
    note(f"undisturbed: {plan.runs} runs in {plan.run_undisturbed():.0f} s")
    deck = draw(kills, random)
    if disk is None:
        tally.not_dealt = "this system lets nobody mount here, not with unshare -Urm either"
        deck.commands = [fault for fault in deck.commands if fault not in DISK_FAULTS]
    for number in range(1, MOST_ROUNDS + 1):
        needs_disk = disk is not None and set(deck.commands) & set(DISK_FAULTS)
        parent = disk.path if disk is not None and needs_disk else folder
        scene = Scene(plan, parent / f"round-{number}", tally, random)
        try:
            _round(scene, deck, disk)
            scene.judge()
        except Loss as loss:
            scene.lost(loss)
        finally:
            scene.stop_all()
        if scene.has_lost:
            shutil.copytree(scene.results, folder / f"lost-{number}", dirs_exist_ok=True)
        shutil.rmtree(scene.results)
        if deck.is_empty() or scene.has_lost:
            return
    tally.not_dealt = f"the moments of {deck} did not come in {MOST_ROUNDS} rounds"


def _round(scene: Scene, deck: Deck, disk: SmallDisk | None) -> None:
    """Disturb one results folder until its plan is done or there is nothing more to deal."""
    scene.tally.count(CLOCK)
    while not scene.is_done and not deck.is_empty():
        if scene.commands > MOST_COMMANDS:
            raise Loss(f"not done after {scene.commands} commands")
        for kind in [kind for kind in deck.damages if scene.random.random() < DAMAGE_CHANCE]:
            if scene.damage(kind):
                deck.damages.remove(kind)
        if deck.is_empty():
            break
        has_kills = bool(deck.moments or deck.orders)
        if not has_kills and not deck.commands:  # damages need runs that were left in the middle
            deck.commands.append(TERMINATED)
        if has_kills and (not deck.commands or scene.random.random() < 0.5):
            kill_workers(scene, deck)
        else:
            fault = deck.commands.pop(0)
            if not EPISODES[fault](scene, fault, disk):
                deck.commands.append(fault)
        note(f"{scene.results.name}, command {scene.commands}: {scene.tally.times.total()} faults")
    run_twice_at_once(scene)


def note(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
