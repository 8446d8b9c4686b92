"""The runs of a plan: their states, and what made a done one stale."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vlbench.cards.load import PROSE
from vlbench.errors import DataError
from vlbench.runs.folder import RunFolder, short_error
from vlbench.runs.spec import NOT_IN_KEY, RunSpec
from vlbench.toml import leaves

SAME = ("suite", "backbone", "edition", "limit", "seed", "encoder", "init")
"""What two runs of one cell have in common, beside the method's name and the settings."""
HASHES = ("backbone_hash", "init_hash", "data.", "code.")
"""Names, or their beginnings, of values that say nothing to people."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a plan."""

    spec: RunSpec
    folder: RunFolder
    state: str
    """The folder's state, or missing or stale."""
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


def _done(results: Path) -> dict[tuple[Any, ...], tuple[float, str, RunSpec]]:
    """Cell -> when its newest done run was done, the run's key and its spec."""
    runs: dict[tuple[Any, ...], tuple[float, str, RunSpec]] = {}
    for folder in RunFolder.all(results, []):
        with suppress(OSError, DataError):  # `list runs` names what cannot be read
            done_at = folder.done_at
            spec, key = RunSpec.parse(folder.spec_file)
            run, cell = (done_at, str(key), spec), _cell_of(spec)
            runs[cell] = max(runs.get(cell, run), run, key=lambda run: run[:2])
    return runs


def _cell(spec: RunSpec, folder: RunFolder, done: Callable[[], dict[Any, Any]]) -> Cell:
    state = folder.state
    if state == "running":
        return Cell(spec, folder, state, f"on {folder.host_and_device}")
    if state == "queued":
        job = folder.job()
        return Cell(spec, folder, state, f"{job.get('launcher', '')} {job.get('job', '')}".strip())
    if state != "planned":
        return Cell(spec, folder, state, "" if state == "done" else short_error(folder.status()))
    if _cell_of(spec) not in done():
        return Cell(spec, folder, "missing")
    _, key, old = done()[_cell_of(spec)]
    reason = "; ".join(differences(old, spec)) or "its key was made by other rules"
    return Cell(spec, folder, "stale", reason, key)


def _cell_of(spec: RunSpec) -> tuple[Any, ...]:
    same = (getattr(spec, name) for name in SAME)
    return (spec.method.name, tuple(sorted(spec.settings)), *same)


def differences(old: RunSpec, new: RunSpec) -> list[str]:
    """What makes the keys of two specs of one cell differ: `method.params.reduction 8 -> 16`."""
    both = set(old.task_names) & set(new.task_names)
    before, after = _leaves(old, both), _leaves(new, both)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        values = before.get(name), after.get(name)
        if values[0] != values[1]:
            texts = [json.dumps(value, ensure_ascii=False) for value in values]
            is_hash = name.startswith(HASHES)
            lines.append(f"{name} changed" if is_hash else f"{name} {' -> '.join(texts)}")
    return lines


def _leaves(spec: RunSpec, names: set[str]) -> dict[str, Any]:
    """What is in a spec's key, by dotted name; of tasks only these."""
    table = spec.model_dump(mode="json", exclude={*NOT_IN_KEY, "method", "tasks"})
    table["method"] = spec.method.model_dump(mode="json", exclude=PROSE)
    tasks = {task.name: task.model_dump(mode="json", exclude=PROSE) for task in spec.tasks}
    table["tasks"] = {name: tasks[name] for name in sorted(names)}
    table["data"] = {name: spec.data.get(name) for name in names}
    table["task_names"] = spec.task_names
    return dict(leaves(table))
