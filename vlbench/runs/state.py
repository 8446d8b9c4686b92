"""The runs of a plan: their states, what made a done one stale, and what the rest will take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from vlbench.cards.load import LATER, PROSE
from vlbench.config import leaves
from vlbench.errors import DataError
from vlbench.files import read_object
from vlbench.runs.folder import STATES, RunFolder
from vlbench.runs.spec import NOT_IN_KEY, RunSpec

Table = Mapping[str, Any]
CELL_STATES = ("missing", "stale", *STATES[1:])
SAME = ("suite", "backbone", "edition", "limit", "seed", "encoder", "init")
"""What two runs of one cell have in common, beside the method's name and the settings."""
OTHER_RULES = "its key was made by other rules"
BEFORE = {".".join(path): value for path, value in LATER.items()}
"""What a card without the key stands for."""
EMPTY: tuple[object, ...] = (None, "", [], {})
EXPLAINED = {
    *("schema", "key", "key_version", "method", "tasks", "data", "code"),
    *("backbone_hash", "init_hash"),
}
"""Keys of a spec whose differences have words of their own."""
MEASURED = (
    *("method", "settings", "suite", "backbone", "edition", "limit", "device"),
    *("task", "split", "train_seconds", "evaluate_seconds", "peak_memory_bytes"),
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
    older = Older(results)
    return [_cell(spec, RunFolder.of(results, spec), older) for spec in specs]


def counted(states: Sequence[str]) -> str:
    """`3 done, 2 stale, 1 missing`, most advanced first."""
    order = ("done", "running", "queued", "stale", "missing")
    counts = Counter(states)
    names = sorted(counts, key=lambda name: (order.index(name) if name in order else 99, name))
    return ", ".join(f"{counts[name]} {name}" for name in names)


def place(folder: RunFolder) -> str:
    """The host and device that a run is done on."""
    holder = folder.lock.holder() or folder.status()
    return " ".join(str(holder.get(name) or "") for name in ("host", "where")).strip()


def short_error(status: Table) -> str:
    """The line that says what ended an attempt: the first, of a traceback the last; or empty."""
    lines = str(status.get("error") or "").strip().splitlines() or [""]
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return line.removeprefix(f"{status.get('status')}: ")


class Older:
    """The done runs of a results folder by their cell; they are read when first needed."""

    def __init__(self, results: Path) -> None:
        self._results = results

    def find(self, spec: RunSpec) -> tuple[str, str] | None:
        """The key of the newest done run of the spec's cell, and how its spec differs."""
        new = spec.model_dump(mode="json")
        runs = self._by_cell.get(_cell_of(new), [])
        if not runs:
            return None
        _, key, old = max(runs, key=lambda run: run[:2])
        return key, "; ".join(differences(old, new)) or OTHER_RULES

    @cached_property
    def _by_cell(self) -> dict[tuple[Any, ...], list[tuple[float, str, dict[str, Any]]]]:
        """Cell -> when each run was done, its key and its spec."""
        runs: dict[tuple[Any, ...], list[tuple[float, str, dict[str, Any]]]] = {}
        for folder in RunFolder.all(self._results, []):
            # not RunSpec.read: a spec of an earlier version counts too; `list runs` tells faults
            with suppress(OSError, DataError, KeyError, TypeError):
                done_at = folder.result.stat().st_mtime
                table = read_object(folder.spec_file)
                runs.setdefault(_cell_of(table), []).append((done_at, table["key"], table))
        return runs


def _cell(spec: RunSpec, folder: RunFolder, older: Older) -> Cell:
    state = folder.state
    if state == "running":
        return Cell(spec, folder, state, f"on {place(folder)}")
    if state == "queued":
        job = folder.job()
        return Cell(spec, folder, state, f"{job.get('launcher', '')} {job.get('job', '')}".strip())
    if state != "planned":
        return Cell(spec, folder, state, "" if state == "done" else short_error(folder.status()))
    stale = older.find(spec)
    if stale is None:
        return Cell(spec, folder, "missing")
    key, reason = stale
    return Cell(spec, folder, "stale", reason, key)


def _cell_of(table: Table) -> tuple[Any, ...]:
    settings = tuple(sorted(table["settings"]))
    return (table["method"]["name"], settings, *(table.get(name, "") for name in SAME))


def differences(old: Table, new: Table) -> list[str]:
    """What of two `spec.json` makes their keys differ; the older may be of an earlier version."""
    name = new["method"]["name"]
    tasks = [{task["name"]: task for task in spec["tasks"]} for spec in (old, new)]
    return [
        *_change("key version", old.get("key_version"), new["key_version"]),
        *_card(new.get("method_file") or f"methods/{name}", old["method"], new["method"]),
        *_tasks(new["suite"], *tasks),
        *(f"data of {task} changed" for task in _changed(old, new, "data")),
        *(
            f"weights of {what} changed"
            for key, what in (("backbone_hash", new["backbone"]), ("init_hash", new.get("init")))
            if (old.get(key) or "") != (new.get(key) or "")
        ),
        *(f"code of {named} changed" for named in _changed(old, new, "code")),
        *(
            text
            for key in sorted((old.keys() | new.keys()) - EXPLAINED - set(NOT_IN_KEY))
            for text in _change(key, old.get(key), new.get(key))
        ),
    ]


def _tasks(suite: str, before: Table, after: Table) -> Iterator[str]:
    if list(before) != list(after):
        yield f"tasks of {suite}: {', '.join(before)} -> {', '.join(after)}"
    for name, card in after.items():
        if name in before:
            yield from _card(f"tasks/{name}", before[name], card)


def _card(shown: str, old: Table, new: Table) -> Iterator[str]:
    """`methods/compacter: params.reduction 8 -> 16`; a card's prose is left out."""
    before, after = (
        dict(leaves({key: value for key, value in table.items() if key not in PROSE}))
        for table in (old, new)
    )
    for key in sorted(before.keys() | after.keys()):
        values = [table.get(key, BEFORE.get(key)) for table in (before, after)]
        yield from (f"{shown}: {text}" for text in _change(key, *values))


def _changed(old: Table, new: Table, key: str) -> list[str]:
    """The names in the table `key` whose values differ; of `data`, those that both have."""
    before, after = old.get(key) or {}, new.get(key) or {}
    names = before.keys() | after.keys()
    if key == "data":  # tasks that came or went are told as tasks
        names = before.keys() & after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))


def _change(name: str, old: object, new: object) -> Iterator[str]:
    """`name old -> new`, where they differ; an empty value counts as none."""
    if old != new and (old not in EMPTY or new not in EMPTY):
        before, after = (
            "none" if value in EMPTY else json.dumps(value, ensure_ascii=False)
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
        self._runs: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for file in results.glob("runs/*/result.parquet"):
            run = _measured(file)
            if run is None:
                continue
            name = run["device"]
            if name.startswith(device) if device.endswith(": ") else name == device:
                data = (run["suite"], run["backbone"], run["edition"], run["limit"])
                self._runs.setdefault(data, []).append(run)

    def of(self, spec: RunSpec) -> Estimate | None:
        """Median of runs of the same method and settings; else, roughly, of all on the data."""
        runs = self._runs.get((spec.suite, spec.backbone, spec.edition, spec.limit), [])
        own = (spec.method.name, ",".join(spec.overrides))
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

    from vlbench.parquet import MOST_RESULT_ROWS, decode, open_parquet

    try:
        rows = decode(file, open_parquet(file), MEASURED, MOST_RESULT_ROWS).to_pylist()
    except (OSError, ValueError, pa.ArrowException, DataError):
        return None
    if not rows or len(rows[0]) < len(MEASURED):
        return None
    testing = {(row["task"], row["split"]): row["evaluate_seconds"] for row in rows}
    seconds = [rows[0]["train_seconds"], *testing.values()]
    return {**rows[0], "seconds": sum(seconds)} if all(map(isfinite, seconds)) else None
