"""How the benchmarks measure: cases interleaved in one process, medians with spread, ratios.

A machine's pace drifts, so a time alone says little. Every round runs all cases once, in turn; the
ratio of a case to the first one is taken within a round, and the median of the rounds is printed
with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

HOME = Path(__file__).resolve().parents[1]
RECORD = "VLBENCH_BENCH"
"""Environment variable: the file that measurements are appended to, one JSON object a line."""


class Measured(NamedTuple):
    """What a case took, over the rounds."""

    seconds: float
    """Median."""
    ratio: float
    """Median of the rounds' ratios to the first case."""
    low: float
    """Their lower quartile."""
    high: float
    """Their upper quartile."""

    @property
    def spread(self) -> str:
        """`1.07 (1.05 to 1.09)`."""
        return f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f})"


def interleaved(
    cases: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1
) -> dict[str, Measured]:
    """Run all cases once a round, every second round in the other order."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(warm_up + rounds):
        turn = list(cases) if number % 2 else list(reversed(cases))
        for name in turn:
            began = time.perf_counter()
            cases[name]()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    first = next(iter(seconds.values()))
    return {name: compared(taken, first) for name, taken in seconds.items()}


def compared(taken: Sequence[float], first: Sequence[float]) -> Measured:
    """What a case took, beside the first one in the same rounds."""
    ratios = [mine / other for mine, other in zip(taken, first, strict=True)]
    low, ratio, high = quartiles(ratios)
    return Measured(statistics.median(taken), ratio, low, high)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile of the values themselves (inclusive)."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def record(benchmark: str, **figures: Any) -> None:
    """Append a measurement, with where and when, to the file that VLBENCH_BENCH names."""
    file = os.environ.get(RECORD)
    if not file:
        return
    line = {
        "benchmark": benchmark,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        **figures,
    }
    with Path(file).open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(line) + "\n")


def peak_mb() -> float:
    """Of this process since it was started; `getrusage` would also count the one that forked it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def options(text: str | None) -> argparse.ArgumentParser:
    """A parser whose description is the first line of a benchmark's docstring."""
    return argparse.ArgumentParser(description=(text or "").partition("\n")[0])


def _commit() -> str:
    words = ["git", "-C", str(HOME), "describe", "--always", "--dirty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip()
