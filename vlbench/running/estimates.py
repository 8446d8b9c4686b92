"""What a run will take, by earlier runs on the same device: medians, and of how many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from vlbench.columns import MOST_ROWS
from vlbench.errors import DataError
from vlbench.running.spec import RunSpec

COLUMNS = (
    *("method", "settings", "suite", "backbone", "edition", "limit", "device"),
    *("task", "split", "train_seconds", "evaluate_seconds", "peak_memory_bytes"),
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time and memory of a run."""

    seconds: float
    peak_memory_bytes: int
    runs: int
    """How many earlier runs it is the median of."""
    is_rough: bool
    """Whether those were of other methods or settings."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What an earlier run took."""

    method: str
    settings: str
    seconds: float
    peak_memory_bytes: int


class Estimates:
    """Estimates for one device; one without a name, `cuda: `, is any of its kind."""

    def __init__(self, results: Path, device: str) -> None:
        self._taken: dict[tuple[Any, ...], list[Taken]] = {}
        for file in results.glob("runs/*/result.parquet"):
            found = _read(file)
            if found is None or not _is_on(found["device"], device):
                continue
            ground = (found["suite"], found["backbone"], found["edition"], found["limit"])
            self._taken.setdefault(ground, []).append(_taken(found))

    def of(self, spec: RunSpec) -> Estimate | None:
        """By runs of the same method and settings; else, roughly, by all on the same data."""
        ground = (spec.suite, spec.backbone, spec.edition, spec.limit)
        there = self._taken.get(ground, [])
        own = (spec.method.name, ",".join(spec.departures))
        same = [each for each in there if (each.method, each.settings) == own]
        chosen = same or there
        if not chosen:
            return None
        return Estimate(
            seconds=median(each.seconds for each in chosen),
            peak_memory_bytes=round(median(each.peak_memory_bytes for each in chosen)),
            runs=len(chosen),
            is_rough=not same,
        )


def total_seconds(seconds: Iterable[float], slots: int) -> float:
    """Until all of them are done: their sum by the slots, but never less than the longest."""
    each = list(seconds)
    return max(sum(each) / slots, max(each, default=0.0))


def _read(file: Path) -> dict[str, Any] | None:
    """What a result says of its run as a whole; None where it is no longer readable."""
    import pyarrow as pa

    from vlbench.parquet import decode, open_parquet

    try:
        rows = decode(file, open_parquet(file), COLUMNS, MOST_ROWS).to_pylist()
    except (OSError, ValueError, pa.ArrowException, DataError):
        return None
    if not rows or len(rows[0]) < len(COLUMNS):
        return None
    testing = {(row["task"], row["split"]): row["evaluate_seconds"] for row in rows}
    if not all(map(isfinite, [rows[0]["train_seconds"], *testing.values()])):
        return None
    return {**rows[0], "testing": list(testing.values())}


def _taken(found: dict[str, Any]) -> Taken:
    testing: Sequence[float] = found["testing"]
    seconds = found["train_seconds"] + sum(testing)
    return Taken(found["method"], found["settings"], seconds, found["peak_memory_bytes"])


def _is_on(found: str, device: str) -> bool:
    return found.startswith(device) if device.endswith(": ") else found == device
