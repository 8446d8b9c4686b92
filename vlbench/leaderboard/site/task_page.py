"""A task's page: its card, its floors, every method on it, question families, hardest examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlbench.leaderboard.site.cells import Cell, Column, percent_cell, stat_cell
from vlbench.leaderboard.site.layout import Entry, Place
from vlbench.leaderboard.site.predictions import Predictions
from vlbench.leaderboard.site.source import Shown, Source
from vlbench.leaderboard.site.specs import lines, said, table
from vlbench.leaderboard.tables import NONE, number, short_metric

HARDEST = 6
MOST_ASKED = 30
"""Runs whose answers to the hardest examples are counted."""
CARD = {
    "source": "Source",
    "published": "Official files",
    "metric": "Metric",
    "main_metric": "Main metric",
    "prompt": "Prompt",
    "prompt_position": "Prompt stands at",
    "visual": "Visual input",
    "images_per_example": "Pictures per example",
    "max_input_tokens": "Longest input (tokens)",
    "max_target_tokens": "Longest target (tokens)",
    "max_length": "Longest answer (tokens)",
    "beams": "Beams",
    "choices": "Choices",
    "loss": "Loss averaged",
    "batch_sixtieths": "Batch (sixtieths of the method's)",
}


@dataclass(frozen=True)
class TaskLine:
    """A method on the task."""

    entry: Entry
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Grid:
    """Methods by metrics, or by question families."""

    columns: Sequence[Column]
    floor: Sequence[Cell]
    """What always giving the most frequent answer scores; none where that is unknown."""
    lines: Sequence[TaskLine]
    sorted_column: int = -1
    """By which the rows come; none by a family."""


@dataclass(frozen=True)
class Hard:
    """An example that most methods fail on, with the answers they gave."""

    shown: Shown
    answers: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class TaskSection:
    """A board's part of the page."""

    place: Place
    facts: Sequence[tuple[str, str]]
    deviations: Sequence[str]
    main: Grid
    families: Grid | None
    hardest: Sequence[Hard]
    asked: int
    """Runs whose scores tell what is hard; 0: no predictions at hand."""


@dataclass(frozen=True)
class TaskPage:
    """All that the page shows."""

    task: str
    title: str
    sections: Sequence[TaskSection]


def make_task(task: str, source: Source) -> TaskPage:
    """What the page of a task shows."""
    places = [place for place in source.layout.places if task in place.board.mains]
    cards = [source.card(place, task)[1] for place in places]
    title = next((str(card["title"]) for card in cards if card.get("title")), task)
    return TaskPage(task, title, [_section(place, task, source) for place in places])


def _section(place: Place, task: str, source: Source) -> TaskSection:
    card = source.card(place, task)[1]
    known = source.difficulty(place, task)
    return TaskSection(
        place,
        _facts(place, task, card),
        lines(card.get("deviations")),
        _main_grid(place, task),
        _family_grid(place, task),
        _hardest(place, task, source),
        len(known.entries) if known else 0,
    )


def _facts(place: Place, task: str, card: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [(text, said(card[name])) for name, text in CARD.items() if card.get(name)]
    splits = card.get("splits")
    if isinstance(splits, dict):
        facts += [(f"Split: {part}", text) for part, text in table(splits.get(place.board.edition))]
    ground = place.board.grounds.get(task)
    if ground is not None:
        facts.append(("Test examples", f"{ground.n_examples:,}"))
        facts.append(("Data fingerprint", ground.data_fingerprint))
    return facts


def _main_grid(place: Place, task: str) -> Grid:
    """All of the task's metrics, the main one first."""
    main = place.board.mains[task]
    names = {name for entry in place.entries for name, family in entry.row.stats if not family}
    others = sorted(name for name in names if name.startswith(f"{task}.") and name != main)
    metrics = [main, *others]
    columns = [
        Column("trainable", "%"),
        *(Column(short_metric(name, task) or task) for name in metrics),
    ]
    majority = place.board.majority.get(main)
    floor = [Cell(NONE), Cell(number(majority)), *(Cell(NONE) for _ in others)]
    rows = [
        TaskLine(
            entry,
            [
                percent_cell(entry.row.facts["trainable_percent"]),
                *(stat_cell(place.board, entry.row, name, f"../{entry.href}") for name in metrics),
            ],
        )
        for entry in sorted(place.entries, key=lambda entry: _rank(entry, main))
    ]
    return Grid(columns, floor if majority is not None else [], rows, 1)


def _rank(entry: Entry, metric: str) -> tuple[bool, float]:
    """Best first, floors last."""
    mean = entry.row.stat(metric).mean
    return entry.row.is_floor, float("inf") if mean is None else -mean


def _family_grid(place: Place, task: str) -> Grid | None:
    """The main metric by question family; None where the task has none."""
    board, main = place.board, place.board.mains[task]
    names = sorted(family for metric, family in board.families if metric == main and family)
    if not names:
        return None
    majorities = [board.families[main, name].majority for name in names]
    rows = []
    for entry in sorted(place.entries, key=lambda entry: _rank(entry, main)):
        means = [entry.row.stat(main, name).mean for name in names]
        rows.append(
            TaskLine(entry, [_family_cell(*each) for each in zip(means, majorities, strict=True)])
        )
    columns = [Column(name, f"n={board.families[main, name].n_examples:,}") for name in names]
    return Grid(columns, [Cell(number(each)) for each in majorities], rows)


def _family_cell(mean: float | None, majority: float | None) -> Cell:
    is_below = mean is not None and majority is not None and mean <= majority
    return Cell(number(mean), value=mean, is_below=is_below)


def _hardest(place: Place, task: str, source: Source) -> list[Hard]:
    known = source.difficulty(place, task)
    if known is None:
        return []
    ids = known.hardest(HARDEST)
    keys = [entry.key for entry in known.entries[:MOST_ASKED]]
    said_by = [Predictions(source.file(key, task)).of(ids) for key in keys]
    found = []
    for each in ids:
        answers = Counter(rows[each].prediction for rows in said_by if each in rows)
        shown = source.shown(place, task, keys[0], said_by[0][each])
        found.append(Hard(shown, answers.most_common(3)))
    return found
