"""The runs of a plan: their states, what made a done one stale, and what the rest will take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from vlbench.cards.load import PROSE
from vlbench.cards.schema import MethodCard, TaskCard
from vlbench.errors import DataError
from vlbench.parquet import MOST_RESULT_ROWS
from vlbench.runs.folder import STATES, RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.toml import leaves

CELL_STATES = ("missing", "stale", *STATES[1:])
SAME = ("suite", "backbone", "edition", "limit", "seed", "encoder", "init")
"""What two runs of one cell have in common, beside the method's name and the settings."""
OTHER_RULES = "its key was made by other rules"
DATA = ("suite", "backbone", "edition", "limit")
MEASURED = (
    *(*DATA, "method", "settings", "device", "task", "split"),
    *("train_seconds", "evaluate_seconds", "peak_memory_bytes"),
)
"""The columns of a result that estimates are made from."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a plan."""

    spec: RunSpec
    folder: RunFolder
    state: str
    """One of CELL_STATES."""
    reason: str = ""
    """Why it is stale or has failed, where it is done."""
    older: str = ""
    """The key of the run that is stale."""


def cells(specs: Sequence[RunSpec], results: Path) -> list[Cell]:
    """Each run of the plan with its state; reads the results folder, writes nothing."""
    done = cache(lambda: _done(results))  # only where a run is planned
    return [_cell(spec, RunFolder.of(results, spec), done) for spec in specs]


def counted(states: Sequence[str]) -> str:
    """`3 done, 2 stale, 1 missing`, most advanced first."""
    order = ("done", "running", "queued", "stale", "missing")
    counts = Counter(states)
    names = sorted(counts, key=lambda name: (order.index(name) if name in order else 99, name))
    return ", ".join(f"{counts[name]} {name}" for name in names)


def host_and_device(folder: RunFolder) -> str:
    """The host and device that a run is done on."""
    holder = folder.lock.holder() or folder.status()
    return " ".join(str(holder.get(name) or "") for name in ("host", "where")).strip()


def short_error(status: Mapping[str, Any]) -> str:
    """The line that says what ended an attempt: the first, of a traceback the last; or empty."""
    lines = str(status.get("error") or "").strip().splitlines() or [""]
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return line.removeprefix(f"{status.get('status')}: ")


def _done(results: Path) -> dict[tuple[Any, ...], tuple[float, str, RunSpec]]:
    """Cell -> when its newest done run was done, the run's key and its spec."""
    runs: dict[tuple[Any, ...], tuple[float, str, RunSpec]] = {}
    for folder in RunFolder.all(results, []):
        with suppress(OSError, DataError):  # `list runs` names what cannot be read
            done_at = folder.result.stat().st_mtime
            spec, key = RunSpec.parse(folder.spec_file)
            run, cell = (done_at, str(key), spec), _cell_of(spec)
            runs[cell] = max(runs.get(cell, run), run, key=lambda run: run[:2])
    return runs


def _cell(spec: RunSpec, folder: RunFolder, done: Callable[[], dict[Any, Any]]) -> Cell:
    state = folder.state
    if state == "running":
        return Cell(spec, folder, state, f"on {host_and_device(folder)}")
    if state == "queued":
        job = folder.job()
        return Cell(spec, folder, state, f"{job.get('launcher', '')} {job.get('job', '')}".strip())
    if state != "planned":
        return Cell(spec, folder, state, "" if state == "done" else short_error(folder.status()))
    if _cell_of(spec) not in done():
        return Cell(spec, folder, "missing")
    _, key, old = done()[_cell_of(spec)]
    reason = "; ".join(differences(old, spec)) or OTHER_RULES
    return Cell(spec, folder, "stale", reason, key)


def _cell_of(spec: RunSpec) -> tuple[Any, ...]:
    same = (getattr(spec, name) for name in SAME)
    return (spec.method.name, tuple(sorted(spec.settings)), *same)


def differences(old: RunSpec, new: RunSpec) -> list[str]:
    """What makes the keys of two specs of one cell differ, in words."""
    before, after = ({task.name: task for task in spec.tasks} for spec in (old, new))
    both = [name for name in after if name in before]
    lines = [*_change("key version", old.key_version, new.key_version)]
    lines += _card(new.method_file or f"methods/{new.method.name}", old.method, new.method)
    if list(before) != list(after):
        lines.append(f"tasks of {new.suite}: {', '.join(before)} -> {', '.join(after)}")
    for name in both:
        lines += _card(f"tasks/{name}", before[name], after[name])
    lines += [
        f"data of {name} changed" for name in both if old.data.get(name) != new.data.get(name)
    ]
    lines += [f"weights of {new.backbone} changed"] * (old.backbone_hash != new.backbone_hash)
    lines += [f"weights of {new.init} changed"] * (old.init_hash != new.init_hash)
    code = sorted({name for name, _ in old.code.items() ^ new.code.items()})
    return [*lines, *(f"code of {name} changed" for name in code)]


def _card(card_file: str, old: MethodCard | TaskCard, new: MethodCard | TaskCard) -> Iterator[str]:
    """`methods/compacter: params.reduction 8 -> 16`; a card's prose is left out."""
    before, after = (
        dict(leaves(card.model_dump(mode="json", exclude=PROSE))) for card in (old, new)
    )
    for key in sorted(before.keys() | after.keys()):
        yield from _change(f"{card_file}: {key}", before.get(key), after.get(key))


def _change(name: str, old: object, new: object) -> Iterator[str]:
    """`name old -> new`, where they differ."""
    if old != new:
        before, after = (
            "none" if value in (None, "", [], {}) else json.dumps(value, ensure_ascii=False)
            for value in (old, new)
        )
        yield f"{name} {before} -> {after}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time and memory of a run."""

    seconds: float
    peak_memory_bytes: int
    runs: int
    """How many earlier runs it is the median of."""
    is_rough: bool
    """Whether those were of other methods or settings."""


class Estimates:
    """Estimates for one device; one without a name, `cuda: `, is any of its kind."""

    def __init__(self, results: Path, device: str) -> None:
        runs = [run for file in results.glob("runs/*/result.parquet") if (run := _measured(file))]
        self._runs = [
            run
            for run in runs
            if run["device"] == device
            or (device.endswith(": ") and run["device"].startswith(device))
        ]

    def of(self, spec: RunSpec) -> Estimate | None:
        """Median of runs of the same method and settings; else, roughly, of all on the data."""
        cells = spec.cells
        runs = [run for run in self._runs if all(run[name] == cells[name] for name in DATA)]
        own = (spec.method.name, cells["settings"])
        same = [run for run in runs if (run["method"], run["settings"]) == own]
        chosen = same or runs
        if not chosen:
            return None
        return Estimate(
            seconds=median(run["seconds"] for run in chosen),
            peak_memory_bytes=round(median(run["peak_memory_bytes"] for run in chosen)),
            runs=len(chosen),
            is_rough=not same,
        )


def total_seconds(seconds: Iterable[float], slots: int) -> float:
    """Time until all of them are done: their sum by the slots, at least the longest."""
    times = list(seconds)
    return max(sum(times) / slots, max(times, default=0.0))


def _measured(file: Path) -> dict[str, Any] | None:
    """The first row of a result with the run's `seconds`; None where it is not readable."""
    import pyarrow as pa

    from vlbench.parquet import decode, open_parquet

    with suppress(OSError, ValueError, pa.ArrowException, DataError, KeyError, IndexError):
        rows = decode(file, open_parquet(file), MEASURED, MOST_RESULT_ROWS).to_pylist()
        testing = {(row["task"], row["split"]): row["evaluate_seconds"] for row in rows}
        seconds = sum([rows[0]["train_seconds"], *testing.values()])
        if len(rows[0]) == len(MEASURED) and isfinite(seconds):
            return {**rows[0], "seconds": seconds}
    return None
