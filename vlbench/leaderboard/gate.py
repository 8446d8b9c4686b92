"""The gate of CI: whether A is worse than B by more than is allowed, or lacks what B has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from vlbench.errors import NothingToReport, UsageError, WorseThanAllowed
from vlbench.leaderboard.compare_sheets import place, points
from vlbench.leaderboard.compared import Item, Pair
from vlbench.leaderboard.marks import AVERAGE


class Fault(NamedTuple):
    """One number that does not pass."""

    pair: Pair
    item: Item
    kind: Literal["dropped", "lost"]
    """lost: B has the number, or seeds of it, and A has none that can be compared with it."""
    seeds: tuple[int, ...] = ()
    """The seeds that are lost, where others were compared."""

    @property
    def text(self) -> str:
        """What happened, in words."""
        if self.item.tested is None:
            return f"{self.item.task} {self.kind}: {self.item.reason}"
        drop = f"dropped by {points(-self.item.tested.difference, '.1f')}"
        seeds = f"lost: seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        said = [drop] * (self.kind == "dropped") + [seeds] * bool(self.seeds)
        return f"{self.item.task} {', '.join(said)}"


class Gate(NamedTuple):
    """What the gate found."""

    max_drop: float
    """In points."""
    compared: int
    """How many numbers were compared."""
    faults: Sequence[Fault]

    @property
    def is_passed(self) -> bool:
        """Whether something was compared and nothing was found."""
        return self.compared > 0 and not self.faults

    @property
    def rule(self) -> str:
        """What is allowed."""
        return (
            f"a significant drop of more than {points(self.max_drop)}, or a lost number or seed, "
            "fails"
        )

    @property
    def notes(self) -> list[str]:
        """The outcome, for the end of a table."""
        if not self.compared:
            return ["Gate: nothing could be compared, which never passes."]
        if self.is_passed:
            return [f"Gate passed: {self.compared} compared; {self.rule}."]
        several = len({place(fault.pair) for fault in self.faults}) > 1
        found = [
            f"{fault.text} ({place(fault.pair)})." if several else f"{fault.text}."
            for fault in self.faults
        ]
        return [f"Gate failed: {self.rule}.", *found]


def check_max_drop(max_drop: float) -> None:
    """Refuse what could never fail or means nothing."""
    if not math.isfinite(max_drop) or max_drop < 0:
        raise UsageError(f"--max-drop {max_drop}: should be points from 0 up, for example 1.5.")


def gate(pairs: Sequence[Pair], max_drop: float) -> Gate:
    """What of the comparison does not pass."""
    faults: list[Fault] = []
    for pair in pairs:
        for item in pair.items:
            if item.tested is None:
                was_there = pair.b is not None and pair.b.has(item.metric)
                faults += [Fault(pair, item, "lost")] if was_there else []
                continue
            lost = _lost_seeds(pair, item)
            if item.is_shown and item.tested.difference < -max_drop:
                faults.append(Fault(pair, item, "dropped", lost))
            elif lost:
                faults.append(Fault(pair, item, "lost", lost))
    return Gate(max_drop, count_compared(pairs), faults)


def _lost_seeds(pair: Pair, item: Item) -> tuple[int, ...]:
    """The seeds of B's value of a task that A lacks; those of the average are told so."""
    if pair.b is None or item.metric == AVERAGE:
        return ()
    return tuple(sorted(pair.b.seeds(item.metric) - set(item.seeds_a)))


def count_compared(pairs: Sequence[Pair]) -> int:
    """How many numbers were compared."""
    return sum(item.tested is not None for pair in pairs for item in pair.items)


def refuse(pairs: Sequence[Pair], found: Gate | None) -> None:
    """End with the exit code that says so where nothing was compared or the gate found a fault."""
    if not count_compared(pairs):
        missing = "; ".join(pair.missing for pair in pairs if pair.missing)
        why = f": {missing}." if missing else "; the reasons stand beside each task."
        raise NothingToReport(f"Nothing could be compared{why}")
    if found and found.faults:
        n = len(found.faults)
        what = "number does" if n == 1 else "numbers do"
        raise WorseThanAllowed(f"The gate failed: {n} {what} not pass; {found.rule}.")
