"""What the pages show: a board a section on the first, a row a section on a method's page.

Each public method of `Site` returns the context of one template.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

from vlbench.cards.schema import TaskCard
from vlbench.errors import DataError
from vlbench.leaderboard import tables
from vlbench.leaderboard.board import AVERAGE, Board, Row
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.normalised import NORMALISED
from vlbench.leaderboard.site import run_files
from vlbench.leaderboard.site.media import Pictures, Say, Write, pareto_charts
from vlbench.leaderboard.site.run_files import leaves
from vlbench.leaderboard.tables import COST_HEADS, Cell, Table, cost_texts, number

MOST_SAMPLED = 4
"""Rows of a method's page with predictions: other settings only fill it."""
PROVENANCE = (
    *("key", "created_at", "code_version", "device", "precision", "attempt", "settings", "init"),
    *("limit", "card_hash", "backbone_hash", "versions"),
)
"""Columns of the results that say where a run's numbers come from."""
Context = dict[str, Any]  # values of a template by name


class Section(NamedTuple):
    """A board and where the site shows it and its rows."""

    board: Board
    anchor: str
    title: str
    main: Table
    hrefs: Mapping[str, str]  # from the top of the site, by row label

    @property
    def rows(self) -> list[tuple[Row, Sequence[Cell]]]:
        """The rows, floors last, each with its line of the leaderboard."""
        rows = sorted(self.board.rows, key=lambda row: row.is_floor)
        return [*zip(rows, self._lines, strict=False)]

    @property
    def majority(self) -> Sequence[Cell]:
        """What always giving the most frequent answer scores; nothing where unknown."""
        return next(iter(self._lines[len(self.board.rows) :]), ())

    @property
    def _lines(self) -> list[Sequence[Cell]]:
        return [line for section in self.main.sections for line in section]


class Site:
    """The boards and the run folders behind them, and where the site shows each."""

    def __init__(
        self, boards: Sequence[Board], examples: Examples, write: Write, say: Say, has_media: bool
    ) -> None:
        self.examples, self.write, self.say = examples, write, say
        self.runs = {run.key: run for board in boards for run in board.runs}
        self.n_runs = sum(run.is_done for run in self.runs.values())
        methods = sorted({row.method for board in boards for row in board.rows})
        tasks = sorted({task for board in boards for task in board.mains})
        for name in [*self.runs, *tasks]:  # names of files to look for
            if not run_files.is_plain(name):
                raise DataError(f"{examples.folder}: The run key or task {name!r} is a path.")
        self.methods = {method: f"methods/{page_name(method)}.html" for method in methods}
        self.tasks = {task: f"tasks/{page_name(task)}.html" for task in tasks}
        self.sections = []
        for number_, board in enumerate(boards, 1):
            anchor = f"{_slug(board.suite)}-{number_}"
            hrefs = {
                row.label: f"{self.methods[row.method]}#{anchor}-{n}"
                for n, row in enumerate(board.rows, 1)
            }
            parts = board, anchor, tables.title(board), tables.main_table(board), hrefs
            self.sections.append(Section(*parts))
        self._pictures = Pictures(write, say, has_media)
        self._spec = cache(partial(run_files.read_spec, examples.folder))

    def index(self) -> Context:
        """Return what the first page shows: the boards and their charts."""
        charts = {s.anchor: pareto_charts(s.board, s.anchor, self.write) for s in self.sections}
        return {"site": self, "charts": charts}

    def method(self, method: str) -> Context:
        """Return what a method's page shows: a section for each of its rows."""
        rows = [(s, *row) for s in self.sections for row in s.rows if row[0].method == method]
        facts = max((row.facts for _, row, *_ in rows), key=lambda facts: str(facts["created_at"]))
        card = self._method_card(rows[0][1])
        about = {"method": method, "technique": facts["technique"], "sharing": facts["sharing"]}
        about |= {name: card.get(name) for name in ("aliases", "source")}
        return {
            "title": str(facts["title"] or method),
            "about": leaves(about),
            "sections": [self._method_section(n, *row) for n, row in enumerate(rows)],
            "n_unsampled": max(0, len(rows) - MOST_SAMPLED),
        }

    def _method_section(
        self, index: int, section: Section, row: Row, line: Sequence[Cell]
    ) -> Context:
        keys = [row.runs[seed] for seed in sorted(row.runs)]
        spec = self._spec(keys[0]) if keys else None
        tasks = section.board.mains if index < MOST_SAMPLED and keys else ()
        return {
            "at": section.hrefs[row.label].partition("#")[2],
            "title": f"{section.title}{row.details}",
            "headings": section.main.columns[2:-1],
            "means": line[2:-1],
            "runs": [self._run(section, key) for key in keys],
            "costs": [
                (f"{head.name} ({head.unit})", text)
                for head, text in zip(COST_HEADS, cost_texts(row), strict=True)
            ],
            "card": self._method_card(row),
            "spec": spec.to_json() if spec else "",
            "tasks": [self._samples(keys[0], task) for task in tasks],
        }

    def _run(self, section: Section, key: str) -> Context:
        board = section.board
        run, metrics = self.runs[key], list(board.mains.values())
        values = [run.values.get((metric, "")) for metric in metrics]
        ruler = board.ruler
        main_values = {metric: run.values.get((metric, "")) for metric in metrics}
        means = {
            AVERAGE: run.average(metrics),
            NORMALISED: ruler.score(main_values) if ruler and ruler.floors else None,
        }
        values += [means[name] for name in board.columns if name in means]
        n_ranks = len(section.main.columns) - len(values) - 3  # a run has none
        data = {f"data of {task}": data.data_fingerprint for task, data in run.grounds.items()}
        return {
            "run": run,
            "cells": [Cell(number(value)) for value in values + [None] * n_ranks],
            "facts": leaves({name: run.facts[name] for name in PROVENANCE} | data),
            "command": run_files.command(self._spec(key)),
        }

    def _samples(self, key: str, task: str) -> Context:
        file, samples = self.examples.file(key, task), list[run_files.Prediction]()
        try:
            ids = run_files.choose(self.examples.scores(key, task))
            samples = run_files.read_predictions(file, ids)
        except DataError as error:
            if file.is_file():
                self.say(f"no samples: {error}")
        spec = self._spec(key)
        cards = [card for card in spec.tasks if card.name == task] if spec else []
        examples = [
            {
                "example": sample,
                "pictures": self._pictures.of(spec, cards[0], sample) if spec and cards else [],
            }
            for sample in samples
        ]
        return {"name": task, "page": self.tasks[task], "examples": examples}

    def task(self, task: str) -> Context:
        """Return what a task's page shows: a section for each board that has the task."""
        sections = [section for section in self.sections if task in section.board.mains]
        cards = [self._task_card(section.board, task) for section in sections]
        parts = [self._task_section(*pair, task) for pair in zip(sections, cards, strict=True)]
        return {"title": next((card.title for card in cards if card), task), "sections": parts}

    def _task_section(self, section: Section, card: TaskCard | None, task: str) -> Context:
        board = section.board
        shown: Context = {}
        if card:
            others = {"name", "title", "deviations", "splits", "sizes"}
            shown = card.model_dump(mode="json", exclude=others)
            splits = card.model_dump(mode="json", include={"splits"})["splits"]
            shown["split"] = splits.get(board.edition, {})
        if ground := board.grounds.get(task):
            shown["test examples"] = f"{ground.n_examples:,}"
            shown["data fingerprint"] = ground.data_fingerprint
        main = board.mains[task]
        rows = sorted(board.rows, key=lambda row: -(row.stat(main).mean or 0.0))
        majority = {main: board.majority.get(main)}
        of_task = replace(board, rows=rows, mains={task: main}, majority=majority, is_part=True)
        return {
            "section": section,
            "facts": leaves(shown),
            "deviations": card.deviations if card else (),
            "sheet": tables.main_table(of_task),
            "families": next(iter(tables.family_tables(of_task)), None),
        }

    def _method_card(self, row: Row) -> Context:
        spec = self._spec(row.runs[min(row.runs)]) if row.runs else None
        return spec.method.model_dump(mode="json") if spec else {}

    def _task_card(self, board: Board, task: str) -> TaskCard | None:
        """The task's card in the newest run of a board that has it."""
        runs = sorted(board.runs, key=lambda run: run.age, reverse=True)
        specs = filter(None, (self._spec(run.key) for run in runs))
        return next((card for spec in specs for card in spec.tasks if card.name == task), None)


def sort_key(cell: Cell) -> float | None:
    """Return the number in a cell; None where it has none."""
    try:
        return float(cell.text.replace(",", ""))
    except ValueError:
        return None


def page_name(text: str) -> str:
    """Return a page's name of lower-case letters, digits and hyphens only.

    A text that is such a name itself keeps it; any other gets hex digits of its hash behind what is
    left of it, so that `LoRA`, `lora` and `../lora` are three pages on any file system.
    """
    if text and _slug(text) == text:
        return text
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_slug(text)}-{digits[:8]}".lstrip("-")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-")
