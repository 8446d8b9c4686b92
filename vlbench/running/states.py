"""The cells of a plan: how each of its runs stands, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vlbench.errors import DataError
from vlbench.files import read_object
from vlbench.running.differences import differences
from vlbench.running.folder import STATES, RunFolder
from vlbench.running.spec import RunSpec

CELL_STATES = ("missing", "stale", *STATES[1:])
SAME = ("suite", "backbone", "edition", "limit", "seed", "encoder", "init")
"""What two runs of one cell have in common, beside the method's name and the settings."""
OTHER_RULES = "its key was made by other rules"


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
    found = Counter(states)
    names = sorted(found, key=lambda name: (order.index(name) if name in order else 99, name))
    return ", ".join(f"{found[name]} {name}" for name in names)


def place(folder: RunFolder) -> str:
    """Where a run is being done: host and device."""
    holder = folder.claim.holder() or folder.status()
    return " ".join(str(holder.get(name) or "") for name in ("host", "where")).strip()


def short_error(status: Mapping[str, Any]) -> str:
    """The line that says what ended an attempt: the first, of a traceback the last; or empty."""
    said = str(status.get("error") or "").strip().splitlines() or [""]
    line = said[-1] if said[0].startswith("Traceback") else said[0]
    return line.removeprefix(f"{status.get('status')}: ")


class Older:
    """The done runs of a results folder by their cell; they are read when first asked for."""

    def __init__(self, results: Path) -> None:
        self._results = results

    def find(self, spec: RunSpec) -> tuple[str, str] | None:
        """The newest done run of the spec's cell: its key, and what it has otherwise."""
        new = spec.model_dump(mode="json")
        found = self._by_cell.get(_cell_of(new), [])
        if not found:
            return None
        _, key, old = max(found, key=lambda each: each[:2])
        return key, "; ".join(differences(old, new)) or OTHER_RULES

    @cached_property
    def _by_cell(self) -> dict[tuple[Any, ...], list[tuple[float, str, dict[str, Any]]]]:
        """Cell -> when each run was done, its key and its spec."""
        found: dict[tuple[Any, ...], list[tuple[float, str, dict[str, Any]]]] = {}
        for folder in RunFolder.all(self._results, []):
            # not RunSpec.read: a spec of an earlier version counts too; `list runs` tells faults
            with suppress(OSError, DataError, KeyError, TypeError):
                done_at = folder.result.stat().st_mtime
                table = read_object(folder.spec_file)
                found.setdefault(_cell_of(table), []).append((done_at, table["key"], table))
        return found


def _cell(spec: RunSpec, folder: RunFolder, older: Older) -> Cell:
    state = folder.state
    if state == "running":
        return Cell(spec, folder, state, f"on {place(folder)}")
    if state == "queued":
        job = folder.job()
        return Cell(spec, folder, state, f"{job.get('launcher', '')} {job.get('job', '')}".strip())
    if state != "planned":
        return Cell(spec, folder, state, "" if state == "done" else short_error(folder.status()))
    found = older.find(spec)
    if found is None:
        return Cell(spec, folder, "missing")
    key, reason = found
    return Cell(spec, folder, "stale", reason, key)


def _cell_of(table: Mapping[str, Any]) -> tuple[Any, ...]:
    settings = tuple(sorted(table["settings"]))
    return (table["method"]["name"], settings, *(table.get(name, "") for name in SAME))
