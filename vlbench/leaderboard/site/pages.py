"""What the pages show: a board a section on the first, a row a section on a method's page.

Each public method of `Site` returns the context of one template.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vlbench.errors import DataError
from vlbench.leaderboard import tables
from vlbench.leaderboard.board import AVERAGE, NOTHING, Board, Row
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.paper import PaperRow, paper_rows
from vlbench.leaderboard.results import Log, read_log
from vlbench.leaderboard.site import run_files
from vlbench.leaderboard.site.media import Pictures, Say, Write, loss_chart, pareto_charts
from vlbench.leaderboard.site.run_files import as_table, leaves
from vlbench.leaderboard.tables import Cell, Column, Table, deviation, number, short_metric

if TYPE_CHECKING:
    import pandas as pd

LONGEST_NAME = 60
"""Letters of a page's name before its hash."""
TALL = 40
"""Rows from which a table scrolls in a box of its own, below its head."""
MOST_SAMPLED = 4
"""Rows of a method's page with predictions and training curve: other settings only fill it."""
MOST_SCORED, MOST_ANSWERS = 60, 30
"""Rows of a board, best first, that tell how hard an example is, and that give their answers."""
N_HARDEST = 6
MOST_SPECS = 300
"""Specs in memory."""
LESS_IS_BETTER = {"trainable", "adapter", "peak memory", "training", "evaluation"}
"""Columns that the first click sorts upwards."""
PROVENANCE = (
    *("key", "created_at", "code_version", "device", "precision", "attempt", "settings", "init"),
    *("limit", "card_hash", "backbone_hash", "versions"),
)
"""Columns of the results that say where a run's numbers come from."""
NOT_SHOWN = {"name", "title", "deviations", "splits", "sizes"}
"""Keys of a task's card that its table does not repeat."""
Context = dict[str, Any]
"""Values of a template by name."""
Difficulty = tuple["pd.Series[float]", list[str]]
"""Mean score by example, and the runs that were read."""


class Section(NamedTuple):
    """A board and where the site shows it and its rows."""

    board: Board
    anchor: str
    title: str
    main: Table
    costs: Table
    hrefs: Mapping[str, str]
    """From the top of the site, by row label."""

    @property
    def rows(self) -> list[tuple[Row, Sequence[Cell], Sequence[Cell]]]:
        """The rows, floors last, each with its line of the leaderboard and its costs."""
        rows = sorted(self.board.rows, key=lambda row: row.is_floor)
        return [*zip(rows, _lines(self.main), map(_further, _lines(self.costs)), strict=False)]

    @property
    def majority(self) -> Sequence[Cell]:
        """What always giving the most frequent answer scores; nothing where unknown."""
        return next(iter(_lines(self.main)[len(self.board.rows) :]), ())

    @property
    def cost_headings(self) -> Sequence[Column]:
        """The heads of costs, without the percentage that the leaderboard has."""
        return _further(self.costs.columns)


class Site:
    """The boards and the run folders behind them, and where the site shows each."""

    def __init__(
        self,
        boards: Sequence[Board],
        examples: Examples,
        write: Write,
        say: Say = lambda _: None,
        has_media: bool = True,
    ) -> None:
        self.examples, self.write, self.say = examples, write, say
        self.runs = {run.key: run for board in boards for run in board.runs}
        self.n_runs = sum(run.is_done for run in self.runs.values())
        methods = page_names(row.method for board in boards for row in board.rows)
        tasks = page_names(task for board in boards for task in board.mains)
        for name in [*self.runs, *tasks]:  # names of files to look for
            if not run_files.is_plain(name):
                raise DataError(f"{examples.folder}: The run key or task {name!r} is a path.")
        self.methods = {method: f"methods/{name}.html" for method, name in methods.items()}
        self.tasks = {task: f"tasks/{name}.html" for task, name in tasks.items()}
        anchors = numbered([_anchor(board) for board in boards])
        self.sections = [self._section(*pair) for pair in zip(boards, anchors, strict=True)]
        self._papers = paper_rows()
        self._pictures = Pictures(write, say, has_media)
        self._difficulties: dict[tuple[str, str], Difficulty] = {}
        self._spec = lru_cache(MOST_SPECS)(partial(run_files.read_spec, examples.folder))

    def _section(self, board: Board, anchor: str) -> Section:
        """A row's anchor is the board's where the method has one row there, else numbered."""
        names = numbered([f"{row.method}#{anchor}" for row in board.rows])
        hrefs = {
            row.label: f"{self.methods[row.method]}#{name.rpartition('#')[2]}"
            for row, name in zip(board.rows, names, strict=True)
        }
        sheets = tables.main_table(board), tables.cost_table(board)
        return Section(board, anchor, tables.title(board), *sheets, hrefs)

    def index(self) -> Context:
        """Return what the first page shows: the boards, then published rows."""
        charts = {s.anchor: pareto_charts(s.board, s.anchor, self.write) for s in self.sections}
        return {"site": self, "charts": charts, "published": self._published(self._papers)}

    def method(self, method: str) -> Context:
        """Return what a method's page shows: a section for each of its rows, published rows."""
        rows = [(s, *row) for s in self.sections for row in s.rows if row[0].method == method]
        facts = max((row.facts for _, row, *_ in rows), key=lambda facts: str(facts["created_at"]))
        card = self._method_card(rows[0][1])
        about = {"method": method, "technique": facts["technique"], "sharing": facts["sharing"]}
        about |= {name: card.get(name) for name in ("aliases", "source")}
        return {
            "title": str(facts["title"] or method),
            "about": leaves(about),
            "sections": [self._method_section(n, *row) for n, row in enumerate(rows)],
            "published": self._published([row for row in self._papers if row.method == method]),
            "n_unsampled": max(0, len(rows) - MOST_SAMPLED),
        }

    def _method_section(
        self, index: int, section: Section, row: Row, line: Sequence[Cell], costs: Sequence[Cell]
    ) -> Context:
        page, anchor = section.hrefs[row.label].split("#")
        keys, tasks = [row.runs[seed] for seed in sorted(row.runs)], section.board.mains
        specs = [self._spec(key) for key in keys]
        headings = [section.main.columns[1], *section.cost_headings]
        is_sampled, chart = index < MOST_SAMPLED and bool(keys), None
        if is_sampled:
            logs = [log for key in keys if (log := self._log(key))]
            chart = loss_chart(row, logs, f"{Path(page).stem}_{anchor}", self.write)
        return {
            "at": anchor,
            "title": f"{section.title}{row.details}",
            "headings": section.main.columns[2:-1],
            "means": line[2:-1],
            "runs": [self._run(section.board, key) for key in keys],
            "costs": [
                (f"{heading.name} ({heading.unit})", cell.text)
                for heading, cell in zip(headings, [line[1], *costs], strict=True)
            ],
            "card": self._method_card(row),
            "spec": json.dumps(specs[0], indent=1, ensure_ascii=False) if any(specs) else "",
            "losses": chart,
            "tasks": [self._samples(section, keys[0], task) for task in tasks if is_sampled],
        }

    def _run(self, board: Board, key: str) -> Context:
        """A run's numbers, and where they came from."""
        run, metrics = self.runs[key], list(board.mains.values())
        values = [run.values.get((metric, "")) for metric in metrics]
        values += [run.average(metrics)] if len(metrics) > 1 else []
        data = {f"data of {task}": data.data_fingerprint for task, data in run.grounds.items()}
        return {
            "run": run,
            "cells": [Cell(number(value)) for value in values],
            "facts": leaves({name: run.facts[name] for name in PROVENANCE} | data),
            "command": run_files.command(self._spec(key)),
        }

    def _samples(self, section: Section, key: str, task: str) -> Context:
        """Answers to some examples of a task; none where the predictions are not at hand."""
        file, examples = self.examples.file(key, task), list[list[Context]]()
        try:
            scores = self.examples.scores(key, task)
            groups = run_files.choose(scores, self._difficulty(section, task)[0])
            rows = run_files.read_predictions(file, [*groups[0], *groups[1]])
        except DataError as error:
            if file.is_file():
                self.say(f"no samples: {error}")
        else:
            examples = [[self._example(section, task, key, rows[i]) for i in ids] for ids in groups]
        return {"name": task, "page": self.tasks[task], "examples": examples}

    def task(self, task: str) -> Context:
        """Return what a task's page shows: a section for each board that has the task."""
        sections = [section for section in self.sections if task in section.board.mains]
        cards = [self._task_card(section.board, task) for section in sections]
        parts = [self._task_section(*pair, task) for pair in zip(sections, cards, strict=True)]
        titles = [str(card["title"]) for card in cards if card.get("title")]
        return {"title": titles[0] if titles else task, "sections": parts}

    def _task_section(self, section: Section, card: Mapping[str, Any], task: str) -> Context:
        board = section.board
        facts = leaves({name: value for name, value in card.items() if name not in NOT_SHOWN})
        facts += leaves(as_table(card.get("splits")).get(board.edition), "split")
        if ground := board.grounds.get(task):
            facts.append(("test examples", f"{ground.n_examples:,}"))
            facts.append(("data fingerprint", ground.data_fingerprint))
        main = board.mains[task]
        rows = sorted(board.rows, key=lambda row: -(row.stat(main).mean or 0.0))
        majority = {main: board.majority.get(main)}
        of_task = replace(board, rows=rows, mains={task: main}, majority=majority, is_part=True)
        _, keys = self._difficulty(section, task)
        return {
            "section": section,
            "facts": facts,
            "deviations": card.get("deviations"),
            "sheet": _all_metrics(of_task, task),
            "families": next(iter(tables.family_tables(of_task)), None),
            "hardest": self._hardest(section, task) if keys else [],
            "n_scored": len(keys),
        }

    def _hardest(self, section: Section, task: str) -> list[Context]:
        """The examples that most methods fail on, with the answers they gave."""
        means, keys = self._difficulty(section, task)
        ids = means.sort_values(kind="stable").index[:N_HARDEST].tolist()
        read, files = run_files.read_predictions, [self.examples.file(key, task) for key in keys]
        rows = read(files[0], ids)
        answers = [read(file, ids, ["prediction"]) for file in files[:MOST_ANSWERS]]
        hardest = [self._example(section, task, keys[0], rows[name]) for name in ids]
        for name, example in zip(ids, hardest, strict=True):
            texts = Counter(run_files.cut(by_id[name]["prediction"] or "") for by_id in answers)
            example["answers"] = texts.most_common(3)
        return hardest

    def _example(self, section: Section, task: str, key: str, row: Mapping[str, Any]) -> Context:
        """A prediction with the example's pictures and its mean score over methods."""
        prediction, spec = run_files.as_prediction(row), self._spec(key)
        mean = self._difficulty(section, task)[0].get(prediction.id)
        return {
            "example": prediction,
            "pictures": self._pictures.of(spec, run_files.task_card(spec, task), prediction),
            "mean": None if mean is None else 100 * mean,
            "answers": [],
        }

    def _difficulty(self, section: Section, task: str) -> Difficulty:
        """Of the methods' first seeds: baselines that look at nothing do not count."""
        if (section.anchor, task) not in self._difficulties:
            rows = [row for row in section.board.rows if not row.is_floor][:MOST_SCORED]
            keys = [row.runs[min(row.runs)] for row in rows if row.runs]
            known = run_files.difficulty(self.examples, keys, task)
            self._difficulties[section.anchor, task] = known
        return self._difficulties[section.anchor, task]

    def _method_card(self, row: Row) -> dict[str, Any]:
        """The method card as the row's first run resolved it."""
        return as_table(self._spec(row.runs[min(row.runs)]).get("method")) if row.runs else {}

    def _task_card(self, board: Board, task: str) -> dict[str, Any]:
        """The task's card in the newest run of a board that has it."""
        runs = sorted(board.runs, key=lambda run: run.age, reverse=True)
        cards = (run_files.task_card(self._spec(run.key), task) for run in runs)
        return next(filter(None, cards), {})

    def _log(self, key: str) -> Log | None:
        try:
            return read_log(self.examples.folder, key)
        except DataError as error:
            self.say(f"no training curve: {error}")
            return None

    def _published(self, rows: Sequence[PaperRow]) -> list[Context]:
        """A table for each suite of the site that papers have rows of, a section a source."""
        suites = dict.fromkeys(section.board.suite for section in self.sections)
        by_suite = {suite: [row for row in rows if row.suite == suite] for suite in suites}
        return [_published(suite, rows, self.methods) for suite, rows in by_suite.items() if rows]


def _published(suite: str, rows: Sequence[PaperRow], pages: Mapping[str, str]) -> Context:
    names = sorted({name: None for row in rows for name in row.metrics}, key=AVERAGE.__eq__)
    tasks = [name.partition(".")[0] for name in names]
    metrics = [Column(t, short_metric(n, t)) for n, t in zip(names, tasks, strict=True)]
    first = Column("method in the paper"), Column("trainable", "%")
    sections: dict[str, list[list[Cell]]] = {}
    hrefs = {}
    for row in rows:
        notes = ", ".join(text for text in (row.method, row.note) if text)
        line = [
            Cell(row.method_in_source, f" {notes}"),
            Cell(tables.percent(row.trainable_percent)),
        ]
        for name in names:
            mean, std = row.metrics.get(name, (None, None))
            line.append(Cell(number(mean, digits=2), "" if std is None else f" ±{std:.2f}"))
        sections.setdefault(_source(row), []).append([*line, Cell(str(row.seeds))])
        hrefs[row.method_in_source + f" {notes}"] = pages.get(row.method or "", "")
    sheet = Table(suite, [*first, *metrics, Column("seeds", "n")], [*sections.values()], [])
    return {"sheet": sheet, "sources": [*sections], "hrefs": hrefs}


def _source(row: PaperRow) -> str:
    ablation = " (ablation)" if row.kind == "analysis" else ""
    by = "" if row.run_by == row.paper else f" Run by {row.run_by}."
    return f"{row.paper}, {row.table}{ablation}: {row.backbone}.{by} Read from {row.strength}."


def _all_metrics(board: Board, task: str) -> Table:
    """The leaderboard of a single task, with its further metrics."""
    sheet = tables.main_table(board)
    names = {name for row in board.rows for name, family in row.stats if not family}
    others = sorted(n for n in names - {*board.mains.values()} if n.startswith(f"{task}."))
    rows = iter(sorted(board.rows, key=lambda row: row.is_floor))

    def further(row: Row | None) -> list[Cell]:
        stats = [row.stat(name) if row else NOTHING for name in others]
        return [Cell(number(stat.mean), deviation(stat.std)) for stat in stats]

    sections = [[[*line, *further(next(rows, None))] for line in part] for part in sheet.sections]
    headings = [*sheet.columns, *(Column(short_metric(name, task)) for name in others)]
    return replace(sheet, columns=headings, sections=sections)


def _lines(sheet: Table) -> list[Sequence[Cell]]:
    return [line for section in sheet.sections for line in section]


def _further(costs: Sequence[Any]) -> Sequence[Any]:
    """Without the columns that the leaderboard has: the method, and the percentage."""
    return [costs[1], *costs[3:]]


def sort_key(cell: Cell) -> float | None:
    """Return the number in a cell; None where it has none."""
    try:
        return float(cell.text.replace(",", ""))
    except ValueError:
        return None


def page_names(texts: Iterable[str]) -> dict[str, str]:
    """Return a page name for each text: lower-case letters, digits and hyphens only.

    A text that is such a name itself keeps it; any other gets hex digits of its hash behind what is
    left of it, so that `LoRA`, `lora` and `../lora` are three pages on any file system.
    """
    names = sorted(set(texts), key=lambda text: (_slug(text) != text, text))  # plain ones first
    digits = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in names]
    hashed = [f"{_slug(n)}-{d[:8]}".lstrip("-") for n, d in zip(names, digits, strict=True)]
    plain = [n if n and _slug(n) == n else h for n, h in zip(names, hashed, strict=True)]
    return dict(zip(names, numbered(plain), strict=True))


def numbered(names: Sequence[str]) -> list[str]:
    """Return the names, each new: a second `board` is `board-2`."""
    chosen: dict[str, None] = {}
    for name in names:
        others = (f"{name}-{n}" for n in count(2))
        free = (other for other in others if other not in chosen and other not in names)
        chosen[next(free) if name in chosen else name] = None
    return list(chosen)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:LONGEST_NAME].strip("-")


def _anchor(board: Board) -> str:
    """`image-text-mini-bart-mini`, and what cut the data."""
    cut = "" if board.scope == "complete" else f" {board.scope} {board.limit or ''}"
    return _slug(f"{board.suite} {board.backbone} {board.edition}{cut}") or "board"
