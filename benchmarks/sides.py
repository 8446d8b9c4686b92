"""Processes that take turns: each holds one model and measures what it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from measure import Measured, compared


class Side:
    """A process that answers a line of its standard input with a number."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def ask(self, measure: str) -> float:
        """Seconds, or what else it measures."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(measure, file=self._process.stdin, flush=True)
        number: float = json.loads(self._process.stdout.readline())
        return number


def obey(measures: Mapping[str, Callable[[], float]]) -> None:
    """Be a side: answer until standard input ends."""
    for line in sys.stdin:
        print(measures[line.strip()](), flush=True)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(sides: Mapping[str, Side], measure: str, rounds: int) -> dict[str, Measured]:
    """Ask all sides once a round, every second round in the other order; one round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(1 + rounds):
        for name in list(sides) if number % 2 else list(reversed(sides)):
            taken[name].append(sides[name].ask(measure))
    first = next(iter(taken.values()))
    return {name: compared(times[1:], first[1:]) for name, times in taken.items()}
