"""Choose among the runs of a results folder that are done, by name or by filters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.cards import find_tasks
from vlbench.cards.load import split_names
from vlbench.errors import DataError, NothingToReport, UsageError, nearest
from vlbench.files import read_object
from vlbench.leaderboard.load import method_name
from vlbench.runs.folder import RunFolder, find_run, run_folders
from vlbench.runs.sums import RESULT


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
        why = f"{len(folders)} runs there, none done" if folders else "no runs there"
        raise NothingToReport(f"{results}: {why} (looked for runs/*/{RESULT}).")
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
        paths = {find_run(results, text).path for text in named}
        if not_done := sorted(path.name for path in paths - set(runs)):
            raise UsageError(f"{results}: not done: {', '.join(not_done)}.")
        runs = sorted(paths)
    specs = {run: _spec(run) for run in runs}
    wanted = _wanted(filters, [spec for spec in specs.values() if spec])
    left = [
        run
        for run, spec in specs.items()
        if spec is None or all(spec[key] in values for key, values in wanted.items())
    ]
    if not left:
        names = "; ".join(f"{key} {', '.join(map(str, sorted(v)))}" for key, v in wanted.items())
        raise NothingToReport(f"{results}: no run that is done is of {names}.")
    return left


def _spec(run: Path) -> dict[str, Any] | None:
    """What filters look at; None where it cannot be read: such a run is left out by no filter."""
    try:
        table = read_object(run / "spec.json")
        spec = {
            "method": str(table["method"]["name"]),
            **{name: table[name] for name in ("suite", "backbone", "edition", "seed")},
        }
        return spec if all(isinstance(value, str | int) for value in spec.values()) else None
    except (DataError, KeyError, TypeError):
        return None


def _wanted(filters: Filters, specs: Sequence[dict[str, Any]]) -> dict[str, Collection[Any]]:
    """Key of a spec -> the values that are asked for; an unknown name is an error."""
    wanted: dict[str, Collection[Any]] = {}
    if filters.methods:
        known = {spec["method"] for spec in specs}
        wanted["method"] = {method_name(name, known) for name in split_names(filters.methods)}
    if filters.tasks:
        name = "+".join(split_names(filters.tasks))
        is_known = name in {spec["suite"] for spec in specs}
        wanted["suite"] = {name if is_known else find_tasks(filters.tasks)[0]}
    for key, names in (("backbone", filters.backbones), ("edition", filters.editions)):
        if names:
            known = {spec[key] for spec in specs}
            wanted[key] = {_known(key, name, known) for name in split_names(names)}
    if filters.seeds:
        wanted["seed"] = set(filters.seeds)
    return wanted


def _known(what: str, name: str, known: Collection[str]) -> str:
    if name not in known:
        raise UsageError(f"--{what} {name}: No run is of it. {nearest(name, known)}")
    return name
