"""What the test counts: faults by name, the attempts they cost, and losses, which must not be."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Loss(Exception):
    """Something that must not happen, whatever is done to vlbench."""


class Tally:
    """Faults dealt and losses found."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.losses: list[str] = []
        self.not_done: dict[str, str] = {}
        self.gone_seconds = 0.0

    def count(self, fault: str, attempts: int = 0) -> None:
        """A fault was dealt; so many attempts at runs ended with it."""
        self.times[fault] += 1
        self.attempts[fault] += attempts

    @property
    def kills(self) -> int:
        """How many of the faults were a SIGKILL."""
        return sum(times for fault, times in self.times.items() if fault.startswith("SIGKILL"))

    def table(self) -> str:
        """What was done, a line each; the last line says how many faults and losses."""
        lines = [f"{'fault':<58}{'times':>6}{'attempts lost':>15}"]
        for fault in sorted(self.times):
            lines.append(f"{fault:<58}{self.times[fault]:>6}{self.attempts[fault]:>15}")
        lines += [f"{fault:<58}  not done: {why}" for fault, why in sorted(self.not_done.items())]
        lines += [f"LOSS: {loss}" for loss in self.losses]
        lines.append(f"longest that a worker outlived its launcher: {self.gone_seconds:.1f} s")
        lines.append(f"kills {self.kills}")
        lines.append(f"faults {self.times.total()}  losses {len(self.losses)}")
        return "\n".join(lines)

    def items(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "schema": "vlbench.faults/1",
            "faults": self.times.total(),
            "kills": self.kills,
            "losses": self.losses,
            "not_done": self.not_done,
            "gone_seconds": self.gone_seconds,
            "items": [
                {"fault": fault, "times": times, "attempts_lost": self.attempts[fault]}
                for fault, times in sorted(self.times.items())
            ],
        }
