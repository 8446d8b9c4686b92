"""Axes: where a value stands on one, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, drawn from `start` to `end` in the picture's units."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Where the value stands, to a tenth of a unit."""
        low, high, at = (self._steps(each) for each in (self.low, self.high, value))
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """Round values along the axis."""
        return log_ticks(self.low, self.high) if self.is_log else linear_ticks(self.low, self.high)

    def _steps(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def linear_scale(values: Iterable[float], start: float, end: float) -> Scale:
    """An axis for values with some room around them."""
    there = list(values)
    low, high = min(there), max(there)
    room = (high - low) * 0.08 or max(abs(high) * 0.05, 1.0)
    return Scale(low - room, high + room, start, end)


def log_scale(values: Iterable[float], start: float, end: float) -> Scale:
    """A logarithmic axis for positive values with some room around them."""
    there = list(values)
    low, high = min(there), max(there)
    room = max((high / low) ** 0.07, 1.15)
    return Scale(low / room, high * room, start, end, is_log=True)


def linear_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """About so many multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(step * number, 10) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with 2 and 5 times as much where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [
            f * 10.0**power for power in powers for f in factors if low <= f * 10**power <= high
        ]
        if len(found) >= 4:
            return found
    return found if len(found) > 1 else linear_ticks(low, high, 4)


def short(value: float) -> str:
    """A tick as text: 500, 20k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
