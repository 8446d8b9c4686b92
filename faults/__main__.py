"""Does vlbench lose or spoil a run, whatever happens to it?

`python -m faults [--kills N] [--seed S] [--json]`, from a checkout, does a small plan undisturbed.
Then it does the same plan again in fresh results folders while it kills workers and launchers,
fills the disk, makes it read-only, damages checkpoints and lets the clock jump, and starts the same
command until it ends with 0. Every run must then be done exactly once, with the undisturbed
metrics, predictions, weights and training curve. The table says what was dealt; its last line, how
many faults and losses. A loss ends it with 1 and keeps the folder. docs/running.md says more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from faults.bench import METHODS, Plan
from faults.deck import FULL, READ_ONLY, TERMINATED, Deck, draw
from faults.disk import SmallDisk, enter_namespace
from faults.episodes import DISK_EPISODES, EPISODES, kill_workers, run_twice_at_once
from faults.losses import Loss, Tally
from faults.scene import Scene, describe

DAMAGE_CHANCE = 0.5
"""Files are damaged before a command that often, where there are any of the kind."""
CLOCK = "clock that jumps by hours, in all processes of a round"
MOST_ROUNDS, MOST_COMMANDS = 12, 60
MOST_LOSSES = 20
"""Then it is clear enough."""


def main() -> int:
    """Disturb, compare, print; the exit code."""
    asked = _parser().parse_args()
    enter_namespace()
    folder = Path(tempfile.mkdtemp(prefix="vlbench-faults-"))
    tally, random, started = Tally(), Random(asked.seed), time.monotonic()
    disk = _small_disk(folder, tally)
    try:
        _disturb(asked.kills, folder, disk, tally, random)
    except Loss as loss:
        tally.losses.append(str(loss))
    finally:
        if disk is not None:
            disk.remove()
    if tally.losses:
        note(f"what was left is kept: {folder}")
    else:
        shutil.rmtree(folder)
    note(f"seed {asked.seed}, {time.monotonic() - started:.0f} s")
    print(json.dumps(tally.items(), indent=2) if asked.json else tally.table())
    return 1 if tally.losses else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m faults", description=(__doc__ or "")[:61])
    parser.add_argument("--kills", type=int, default=60, metavar="N", help="SIGKILLs to deal")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _small_disk(folder: Path, tally: Tally) -> SmallDisk | None:
    from os import environ

    from faults.disk import IN_OWN_NAMESPACE

    if IN_OWN_NAMESPACE in environ:
        return SmallDisk(folder / "small-disk")
    for fault in (FULL, READ_ONLY):
        tally.not_done[fault] = "this system lets nobody mount here, not with unshare -Urm either"
    return None


def _disturb(
    kills: int, folder: Path, disk: SmallDisk | None, tally: Tally, random: Random
) -> None:
    """Make the undisturbed results, then deal everything in as many rounds as it takes."""
    is_long = kills >= 20
    if is_long:
        plan = Plan(folder, METHODS, seeds=2, epochs=24)
    else:
        plan = Plan(folder, METHODS[:2], seeds=1, epochs=30)
    note(f"undisturbed: {plan.runs} runs in {plan.run_undisturbed():.0f} s")
    deck = draw(kills, random)
    if disk is None:
        deck.commands = [fault for fault in deck.commands if fault not in DISK_EPISODES]
    for number in range(1, MOST_ROUNDS + 1):
        place = disk.path if disk is not None and _needs_disk(deck) else folder
        scene = Scene(plan, place / f"round-{number}", tally, random)
        try:
            _round(scene, deck, disk)
            scene.judge()
        except Loss as loss:
            scene.lost(loss)
        finally:
            scene.stop_all()
        if scene.has_lost:
            scene.keep(folder / f"lost-{number}")
        shutil.rmtree(scene.results)
        if deck.is_empty() or len(tally.losses) > MOST_LOSSES:
            return
    for fault in [*deck.moments, *map(describe, deck.orders), *deck.commands, *deck.damages]:
        tally.not_done[fault] = f"its moment did not come in {MOST_ROUNDS} rounds"


def _round(scene: Scene, deck: Deck, disk: SmallDisk | None) -> None:
    """Disturb one results folder until its plan is done or there is nothing more to deal."""
    scene.tally.count(CLOCK)
    while not scene.is_done and not deck.is_empty():
        if scene.commands > MOST_COMMANDS:
            raise Loss(f"not done after {scene.commands} commands")
        for kind in [kind for kind in deck.damages if scene.random.random() < DAMAGE_CHANCE]:
            if scene.damage(kind):
                deck.damages.remove(kind)
        kinds = ["kills"] * bool(deck.moments or deck.orders) + ["command"] * bool(deck.commands)
        if deck.is_empty():
            break
        if not kinds:  # files to damage need runs that were left in the middle
            deck.commands.append(TERMINATED)
        try:
            if scene.random.choice(kinds or ["command"]) == "kills":
                kill_workers(scene, deck)
            else:
                _command(scene, deck, disk)
        except Loss as loss:  # the same command again must still mend it all
            scene.lost(loss)
        note(f"{scene.results.name}, command {scene.commands}: {scene.tally.times.total()} faults")
    run_twice_at_once(scene)


def _command(scene: Scene, deck: Deck, disk: SmallDisk | None) -> None:
    fault = deck.commands.pop(0)
    if fault in DISK_EPISODES:
        assert disk is not None
        is_dealt = DISK_EPISODES[fault](scene, fault, disk)
    else:
        is_dealt = EPISODES[fault](scene, fault)
    if not is_dealt:
        deck.commands.append(fault)


def _needs_disk(deck: Deck) -> bool:
    return any(fault in DISK_EPISODES for fault in deck.commands)


def note(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
