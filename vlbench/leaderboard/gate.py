"""The gate of CI: whether A is worse than B by more than is allowed, or lacks what B has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from vlbench.errors import NothingToReport, UsageError, WorseThanAllowed
from vlbench.leaderboard.board import AVERAGE
from vlbench.leaderboard.compare import Item, Pair, count_compared
from vlbench.leaderboard.tables import title


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
        parts = [drop] * (self.kind == "dropped") + [seeds] * bool(self.seeds)
        return f"{self.item.task} {', '.join(parts)}"


class Gate(NamedTuple):
    """Outcome of the gate."""

    max_drop: float
    """In points."""
    compared: int
    """How many numbers were compared."""
    faults: Sequence[Fault]

    @property
    def is_passed(self) -> bool:
        """Whether something was compared and no fault is there."""
        return self.compared > 0 and not self.faults

    @property
    def rule(self) -> str:
        """What is allowed."""
        drop = points(self.max_drop)
        return f"a significant drop of more than {drop}, or a lost number or seed, fails"

    @property
    def notes(self) -> list[str]:
        """The outcome, for the end of a table."""
        if not self.compared:
            return ["Gate: nothing could be compared, which never passes."]
        if self.is_passed:
            return [f"Gate passed: {self.compared} compared; {self.rule}."]
        places = [title(fault.pair.board) for fault in self.faults]
        several = len(set(places)) > 1
        return [
            f"Gate failed: {self.rule}.",
            *(
                f"{fault.text} ({place})." if several else f"{fault.text}."
                for fault, place in zip(self.faults, places, strict=True)
            ),
        ]


def check_max_drop(max_drop: float) -> None:
    """Refuse what could never fail or means nothing."""
    if not math.isfinite(max_drop) or max_drop < 0:
        raise UsageError(f"--max-drop {max_drop}: should be points from 0 up, for example 1.5.")


def gate(pairs: Sequence[Pair], max_drop: float) -> Gate:
    """Find what of the comparison does not pass."""
    faults: list[Fault] = []
    for pair in pairs:
        for item in pair.items:
            if item.tested is None:
                has_b = pair.b is not None and pair.b.has(item.metric)
                faults += [Fault(pair, item, "lost")] if has_b else []
                continue
            lost: tuple[int, ...] = ()  # a seed lost on a task is lost to the average too
            if pair.b is not None and item.metric != AVERAGE:
                lost = tuple(sorted(pair.b.seeds(item.metric) - set(item.seeds_a)))
            if item.is_shown and item.tested.difference < -max_drop:
                faults.append(Fault(pair, item, "dropped", lost))
            elif lost:
                faults.append(Fault(pair, item, "lost", lost))
    return Gate(max_drop, count_compared(pairs), faults)


def refuse(pairs: Sequence[Pair], outcome: Gate | None) -> None:
    """Raise the error with its exit code where nothing was compared or the gate has a fault."""
    if not count_compared(pairs):
        missing = "; ".join(pair.missing for pair in pairs if pair.missing)
        why = f": {missing}." if missing else "; the reasons stand beside each task."
        raise NothingToReport(f"Nothing could be compared{why}")
    if outcome and outcome.faults:
        n = len(outcome.faults)
        what = "number does" if n == 1 else "numbers do"
        raise WorseThanAllowed(f"The gate failed: {n} {what} not pass; {outcome.rule}.")


def points(value: float, format: str = "g") -> str:
    """Format a number of points, as it was typed or in another format."""
    return f"{value:{format}} point{'' if value == 1 else 's'}"
