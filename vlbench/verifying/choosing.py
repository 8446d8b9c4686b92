"""Which runs of a results folder are meant: those that are done, by name or by filters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.cards import find_tasks
from vlbench.cards.files import split_names
from vlbench.errors import DataError, NothingToReport, UsageError, nearest
from vlbench.files import read_object
from vlbench.leaderboard.selection import method_name
from vlbench.running.folder import RunFolder, find_run, run_folders
from vlbench.running.sums import RESULT


@dataclass(frozen=True, slots=True)
class Filters:
    """What a run must be to be chosen; an empty one chooses all."""

    methods: Sequence[str] = ()
    tasks: Sequence[str] = ()
    backbones: Sequence[str] = ()
    editions: Sequence[str] = ()
    seeds: Sequence[int] = ()


def done_runs(results: Path, faults: list[DataError] | None = None) -> list[Path]:
    """The folders of runs that are done, or say so; `faults` as in `run_folders`."""
    folders = run_folders(results, faults)
    runs = [folder for folder in folders if is_done(folder)]
    if not runs and faults:
        raise faults[0]
    if not runs:
        there = f"{len(folders)} runs there, none done" if folders else "no runs there"
        raise NothingToReport(f"{results}: {there} (looked for runs/*/{RESULT}).")
    return runs


def is_done(run: Path) -> bool:
    """Whether the run has its result, or its status says that it had."""
    if (run / RESULT).is_file():
        return True
    return bool(RunFolder(run).status().get("status") == "done")


def choose(
    results: Path,
    named: Sequence[str],
    filters: Filters,
    faults: list[DataError] | None = None,
) -> list[Path]:
    """The done runs that are named, or else that the filters leave; `faults`: see `run_folders`."""
    runs = done_runs(results, faults)
    if named:
        found = {find_run(results, text).path for text in named}
        if not_done := sorted(path.name for path in found - set(runs)):
            raise UsageError(f"{results}: not done: {', '.join(not_done)}.")
        runs = sorted(found)
    specs = {run: _spec(run) for run in runs}
    wanted = _wanted(filters, [spec for spec in specs.values() if spec])
    left = [run for run, spec in specs.items() if spec is None or _fits(spec, wanted)]
    if not left:
        asked = "; ".join(f"{key} {', '.join(map(str, sorted(v)))}" for key, v in wanted.items())
        raise NothingToReport(f"{results}: no run that is done is of {asked}.")
    return left


def _spec(run: Path) -> dict[str, Any] | None:
    """What filters look at; None where it cannot be read: such a run is left out by no filter."""
    try:
        table = read_object(run / "spec.json")
        found = {
            "method": str(table["method"]["name"]),
            **{name: table[name] for name in ("suite", "backbone", "edition", "seed")},
        }
        return found if all(isinstance(each, str | int) for each in found.values()) else None
    except (DataError, KeyError, TypeError):
        return None


def _fits(spec: dict[str, Any], wanted: dict[str, Collection[Any]]) -> bool:
    return all(spec[key] in values for key, values in wanted.items())


def _wanted(filters: Filters, specs: Sequence[dict[str, Any]]) -> dict[str, Collection[Any]]:
    """Key of a spec -> the values that are asked for; an unknown name is an error."""
    wanted: dict[str, Collection[Any]] = {}
    if filters.methods:
        there = {spec["method"] for spec in specs}
        wanted["method"] = {method_name(name, there) for name in split_names(filters.methods)}
    if filters.tasks:
        name = "+".join(split_names(filters.tasks))
        is_there = name in {spec["suite"] for spec in specs}
        wanted["suite"] = {name if is_there else find_tasks(filters.tasks)[0]}
    for key, names in (("backbone", filters.backbones), ("edition", filters.editions)):
        if names:
            there = {spec[key] for spec in specs}
            wanted[key] = {_known(key, name, there) for name in split_names(names)}
    if filters.seeds:
        wanted["seed"] = set(filters.seeds)
    return wanted


def _known(what: str, name: str, there: Collection[str]) -> str:
    if name not in there:
        raise UsageError(f"--{what} {name}: No run is of it. {nearest(name, there)}")
    return name
