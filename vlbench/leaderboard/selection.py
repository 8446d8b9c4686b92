"""Which results a report is asked for: filters, and what to say when nothing is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from vlbench.cards import find_tasks, load_suites
from vlbench.cards.files import is_path, known_names, split_names
from vlbench.errors import NothingToReport, UsageError, nearest

EDITIONS = ("mini", "full")
SCOPES = ("smoke",)
"""Scopes that a report leaves out unless they are asked for."""


class Selected(NamedTuple):
    """What the filters leave."""

    rows: pd.DataFrame
    """Of all methods."""
    methods: Sequence[str]
    """The methods to show; empty: all."""
    suites: Mapping[str, Sequence[str]]
    """The tasks of each suite, as far as they are to be shown."""
    is_part: bool
    """Whether these are not all of a suite's."""


def select(
    results: pd.DataFrame,
    folder: Path,
    methods: Sequence[str] = (),
    tasks: Sequence[str] = (),
    backbone: str = "",
    backbones: Iterable[str] = (),
    edition: str = "",
    include: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> Selected:
    """The results that the filters leave; an unknown name or an empty rest is an error.

    Each of `backbone` and `edition` is a comma list, too. A task that is no suite of its own in the
    results is shown alone out of the suites that have it.
    """
    suite = _suite(tasks, results["suite"]) if tasks else ""
    is_part = bool(suite) and suite not in set(results["suite"]) and suite in set(results["task"])
    wanted: dict[str, Sequence[Any]] = {
        "scope": ["complete", *_scopes(include)],
        "task" if is_part else "suite": [suite] if suite else [],
        "backbone": _all_known("backbone", backbone, results["backbone"], backbones),
        "edition": _all_known("edition", edition, results["edition"], EDITIONS),
        "seed": seeds,
    }
    left = results
    for column, names in wanted.items():
        if names:
            left = left[left[column].isin(names)]
    shown = (
        [method_name(each, results["method"]) for each in split_names(methods)] if methods else []
    )
    if left.empty or (shown and not left["method"].isin(shown).any()):
        raise NothingToReport(_empty(results, folder, {**wanted, "method": shown}))
    suites = {name: (suite,) for name in set(left["suite"])} if is_part else suite_tasks()
    return Selected(left, shown, suites, is_part)


def suite_tasks() -> dict[str, Sequence[str]]:
    """The tasks of the suites we have cards for."""
    return {name: suite.tasks for name, suite in load_suites().items()}


def _scopes(include: Sequence[str]) -> list[str]:
    return _all_known("scope", ",".join(include), SCOPES)


def method_name(name: str, there: Iterable[str]) -> str:
    """A method's name in results: as it is, by an alias, or by the path of its card."""
    if name in set(there):
        return name
    if is_path(name):
        return Path(name).stem
    cards = known_names("methods")
    if name in cards:
        return cards[name].name
    raise UsageError(f"--method {name}: Unknown method '{name}'. {nearest(name, {*cards, *there})}")


def _suite(tasks: Sequence[str], there: Iterable[str]) -> str:
    """The suite's name in the results: as it is, or as the task cards give it."""
    name = "+".join(split_names(tasks))
    return name if name in set(there) else find_tasks(tasks)[0]


def _all_known(what: str, names: str, *lists: Iterable[str]) -> list[str]:
    return [_known(what, name, *lists) for name in split_names(names)] if names else []


def _known(what: str, name: str, *lists: Iterable[str]) -> str:
    known = {each for names in lists for each in names}
    if name not in known:
        option = "include" if what == "scope" else what
        raise UsageError(f"--{option} {name}: Unknown {what} '{name}'. {nearest(name, known)}")
    return name


def _empty(results: pd.DataFrame, folder: Path, wanted: Mapping[str, Sequence[Any]]) -> str:
    """What was looked for, and what there is."""
    asked = [f"{column} {', '.join(map(str, names))}" for column, names in wanted.items() if names]
    lines = [f"{folder}: No results for {'; '.join(asked)}. There is:"]
    columns = ["method", "suite", "backbone", "edition", "scope"]
    for place, rows in results.groupby(columns[1:]):
        names = ", ".join(sorted(set(rows["method"])))
        lines.append(f"  {' / '.join(place)}: {names}")
    if set(results["scope"]) & set(SCOPES) - set(wanted["scope"]):
        lines.append("Smoke results (from --limit) are shown with --include smoke.")
    return "\n".join(lines)
