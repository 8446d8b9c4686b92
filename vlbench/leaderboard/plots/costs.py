"""What a method costs: the axes of the Pareto picture."""

from __future__ import annotations

from typing import NamedTuple

from vlbench.errors import UsageError, nearest
from vlbench.leaderboard.summary import Row, Stat

ALL = "all"
"""Asks for every cost, each on axes of its own."""


class Cost(NamedTuple):
    """One cost, as results name it and as an axis says it."""

    name: str
    title: str
    unit: str
    scale: float
    """Makes the unit of what is stored."""
    is_measured: bool
    """Whether it depends on the machine, which the picture then names."""

    @property
    def label(self) -> str:
        """What stands below the axis."""
        return (
            f"{self.title} ({self.unit}, log scale)" if self.unit else f"{self.title} (log scale)"
        )

    def of(self, row: Row) -> Stat:
        """What a row costs, over its seeds."""
        if self.name in row.costs:
            return row.costs[self.name]
        value = row.facts[self.name]
        return Stat.of([value] * len(row.seeds))


COSTS = (
    Cost("trainable_parameters", "Trainable parameters", "", 1.0, is_measured=False),
    Cost("adapter_bytes", "Stored size", "KB", 1e-3, is_measured=False),
    Cost("peak_memory_bytes", "Peak memory", "MB", 1e-6, is_measured=True),
    Cost("train_seconds", "Training time", "s", 1.0, is_measured=True),
)


def find_costs(name: str) -> tuple[Cost, ...]:
    """The cost of that name, or all of them."""
    if name == ALL:
        return COSTS
    for cost in COSTS:
        if cost.name == name:
            return (cost,)
    known = [ALL, *(cost.name for cost in COSTS)]
    raise UsageError(f"--cost {name}: Unknown cost '{name}'. {nearest(name, known)}")
