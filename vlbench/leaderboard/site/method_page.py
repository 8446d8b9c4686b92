"""A method's page: for each of its rows card, recipe, results by seed, curve, samples, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlbench.errors import DataError
from vlbench.leaderboard.board import Run
from vlbench.leaderboard.site.cells import (
    COST_COLUMNS,
    Cell,
    Column,
    average_cell,
    cost_cells,
    metric_cells,
    metric_columns,
    percent_cell,
)
from vlbench.leaderboard.site.curve import Curve, make_curve
from vlbench.leaderboard.site.layout import Entry, Place
from vlbench.leaderboard.site.published import Published, published
from vlbench.leaderboard.site.samples import choose
from vlbench.leaderboard.site.source import Shown, Source
from vlbench.leaderboard.site.specs import command, differing, lines, pretty, said, table
from vlbench.leaderboard.tables import number

MOST_SAMPLED = 4
"""Rows of a page that show predictions, and their training curve: those with other settings only
fill it."""


@dataclass(frozen=True)
class RunLine:
    """A run of a row: its numbers, and where they came from."""

    run: Run
    seed: int
    cells: Sequence[Cell]
    facts: Sequence[tuple[str, str]]
    data: Sequence[tuple[str, str]]
    """Task and data fingerprint."""
    command: str


@dataclass(frozen=True)
class TaskSamples:
    """What a run said to some examples of a task; None: its predictions are not at hand."""

    task: str
    samples: Sequence[Shown] | None
    worst: Sequence[Shown]


@dataclass(frozen=True)
class Section:
    """A row of a board on its method's page."""

    place: Place
    entry: Entry
    columns: Sequence[Column]
    means: Sequence[Cell]
    runs: Sequence[RunLine]
    cost_columns: Sequence[Column]
    costs: Sequence[Cell]
    params: Sequence[tuple[str, str]]
    train: Sequence[tuple[str, str]]
    deviations: Sequence[str]
    tuning: Sequence[tuple[str, str]]
    spec: str
    """As JSON, of the first run; empty where it is not at hand."""
    differing: Sequence[str]
    """In what the specs of the runs differ."""
    curve: Curve | None
    validation_names: Sequence[str]
    validations: Sequence[tuple[int, int, Mapping[str, float]]]
    """Seed, epoch, metrics."""
    """By seed and epoch."""
    tasks: Sequence[TaskSamples]
    seed: int | None
    """Of the run that curve and samples are of."""


@dataclass(frozen=True)
class MethodPage:
    """All that the page shows."""

    method: str
    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    published: Sequence[Published]
    unsampled: int
    """Rows whose predictions are left out."""


def make_method(method: str, source: Source) -> MethodPage:
    """What the page of a method shows."""
    rows = source.layout.by_method[method]
    newest = max((entry.row.facts for _, entry in rows), key=lambda facts: str(facts["created_at"]))
    card = _card(source, rows[0][1])
    facts = [
        ("Name", method),
        ("Technique", str(newest["technique"])),
        ("Sharing", str(newest["sharing"])),
        ("Also called", ", ".join(lines(card.get("aliases")))),
        ("Source", said(card.get("source") or "")),
    ]
    return MethodPage(
        method,
        str(newest["title"] or method),
        [(name, text) for name, text in facts if text and text != "—"],
        [
            _section(place, entry, source, number < MOST_SAMPLED)
            for number, (place, entry) in enumerate(rows)
        ],
        published(source.layout, source.papers, method),
        max(0, len(rows) - MOST_SAMPLED),
    )


def _section(place: Place, entry: Entry, source: Source, is_sampled: bool) -> Section:
    card = _card(source, entry)
    keys = [entry.row.runs[seed] for seed in sorted(entry.row.runs)]
    logs = {seed: source.log(entry.row.runs[seed]) for seed in sorted(entry.row.runs)}
    first = logs[min(logs)] if logs else None
    checked = [
        (seed, epoch, values)
        for seed, log in logs.items()
        if log
        for epoch, values in log.validations.items()
    ]
    tasks = list(place.board.mains) if is_sampled and keys else []
    return Section(
        place=place,
        entry=entry,
        columns=metric_columns(place.board),
        means=metric_cells(entry.row, place.board),
        runs=[_run(source, place, entry, seed) for seed in sorted(entry.row.runs)],
        cost_columns=[Column("trainable", "%"), *COST_COLUMNS],
        costs=[
            percent_cell(entry.row.facts["trainable_percent"]),
            *cost_cells(entry.row.facts, entry.row.costs),
        ],
        params=table(card.get("params")),
        train=table(card.get("train")),
        deviations=lines(card.get("deviations")),
        tuning=_tuning(card),
        spec=pretty(source.spec(keys[0])) if keys and source.spec(keys[0]) else "",
        differing=differing([source.spec(key) for key in keys]) if keys else [],
        curve=make_curve(first) if is_sampled and first else None,
        validation_names=list(dict.fromkeys(n for _, _, values in checked for n in values)),
        validations=checked,
        tasks=[_samples(place, entry, task, source) for task in tasks],
        seed=min(logs) if logs else None,
    )


def _card(source: Source, entry: Entry) -> dict[str, Any]:
    """The method card as the row's run resolved it."""
    card = source.spec(entry.key).get("method") if entry.key else None
    return card if isinstance(card, dict) else {}


def _tuning(card: dict[str, Any]) -> list[tuple[str, str]]:
    """What was searched, how often, and what decided."""
    tuning = card.get("tuning")
    if not isinstance(tuning, dict):
        return []
    names = {"searched": "Searched", "trials": "Trials", "selected_on": "Selected on"}
    return [
        (text, said(tuning[name]))
        for name, text in names.items()
        if tuning.get(name) not in ("", None, [])
    ]


def _run(source: Source, place: Place, entry: Entry, seed: int) -> RunLine:
    run = source.runs[entry.row.runs[seed]]
    board = place.board
    values = [run.values.get((metric, "")) for metric in board.mains.values()]
    cells = [Cell(number(value), value=value) for value in values]
    if len(values) > 1:
        average = run.average(list(board.mains.values()))
        there = sum(value is not None for value in values)
        cells.append(
            Cell(number(average), value=average)
            if average is not None
            else Cell(average_cell(entry.row, board).text, f"{there}/{len(values)}")
        )
    data = [
        (task, run.grounds[task].data_fingerprint) for task in board.mains if task in run.grounds
    ]
    return RunLine(run, seed, cells, _provenance(run), data, command(source.spec(run.key)))


def _provenance(run: Run) -> list[tuple[str, str]]:
    """Where a run's numbers came from, by name."""
    names = {
        "Run key": "key",
        "Made": "created_at",
        "Code": "code_version",
        "Device": "device",
        "Precision": "precision",
        "Attempt": "attempt",
        "Settings": "settings",
        "Started from": "init",
        "Limit": "limit",
        "Cards": "card_hash",
        "Backbone": "backbone_hash",
        "Versions": "versions",
    }
    return [
        (text, said(run.facts[name]))
        for text, name in names.items()
        if run.facts[name] not in (None, "")
    ]


def _samples(place: Place, entry: Entry, task: str, source: Source) -> TaskSamples:
    chosen = None
    try:
        chosen = choose(source.file(entry.key, task), source.difficulty(place, task))
    except DataError as error:
        source.say(f"no samples: {error}")
    if chosen is None:
        return TaskSamples(task, None, [])
    samples, worst = (
        [source.shown(place, task, entry.key, example) for example in each] for each in chosen
    )
    return TaskSamples(task, samples, worst)
