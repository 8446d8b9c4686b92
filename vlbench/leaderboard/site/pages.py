"""What the pages show: a board a section on the first, a row a section on a method's page.

Each public method of `Site` returns the context of one template.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from vlbench.errors import DataError
from vlbench.leaderboard.board import Board, Row
from vlbench.leaderboard.paper import PaperRow, paper_rows
from vlbench.leaderboard.results import Log, read_log
from vlbench.leaderboard.site.media import Pictures, Say, Write, loss_chart, pareto_charts
from vlbench.leaderboard.site.run_files import (
    Difficulty,
    Prediction,
    as_lines,
    as_text,
    choose,
    command,
    differing,
    difficulty,
    is_plain,
    leaves,
    predictions_file,
    read_predictions,
    read_spec,
    task_card,
)
from vlbench.leaderboard.site.tables import (
    COST_COLUMNS,
    Cell,
    Column,
    Context,
    Entry,
    Listing,
    cost_cells,
    families_grid,
    majority_cells,
    metric_cells,
    metric_columns,
    metrics_grid,
    paper_table,
    percent_cell,
)
from vlbench.leaderboard.tables import NONE, board_notes, number, title

LONGEST_NAME = 60
"""Letters of a page's name before its hash."""
TALL = 40
"""Rows from which a table scrolls in a box of its own, below its head."""
MOST_SAMPLED = 4
"""Rows of a method's page with predictions and training curve: other settings only fill it."""
MOST_SCORED = 60
"""Rows of a board that tell how hard an example is, best first, a run each."""
MOST_ANSWERS = 30
"""Runs whose answers to the hardest examples are counted."""
N_HARDEST = 6
MOST_SPECS = 300
"""Specs in memory."""
TUNING = {"searched": "Searched", "trials": "Trials", "selected_on": "Selected on"}
PROVENANCE = {
    "key": "Run key",
    "created_at": "Made",
    "code_version": "Code",
    "device": "Device",
    "precision": "Precision",
    "attempt": "Attempt",
    "settings": "Settings",
    "init": "Started from",
    "limit": "Limit",
    "card_hash": "Cards",
    "backbone_hash": "Backbone",
    "versions": "Versions",
}
TASK_CARD = {
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


class Site:
    """The boards and the run folders behind them, and where the site shows each."""

    def __init__(
        self,
        boards: Sequence[Board],
        results: Path,
        write: Write,
        say: Say = lambda _: None,
        has_media: bool = True,
    ) -> None:
        self.results = results
        self.write = write
        self.say = say
        self.runs = {run.key: run for board in boards for run in board.runs}
        self.n_runs = sum(run.is_done for board in boards for run in board.runs)
        methods = page_names(row.method for board in boards for row in board.rows)
        tasks = page_names(task for board in boards for task in board.mains)
        for name in [*self.runs, *tasks]:  # looked for as files: they could lead anywhere
            if not is_plain(name):
                raise DataError(
                    f"{results}: A run key or task is called {name!r}, which is a path."
                )
        self.methods = {method: f"methods/{name}.html" for method, name in methods.items()}
        self.tasks = {task: f"tasks/{name}.html" for task, name in tasks.items()}
        anchors = numbered([_anchor(board) for board in boards])
        self.listings = [
            Listing(board, anchor, title(board), self._entries(board, anchor))
            for board, anchor in zip(boards, anchors, strict=True)
        ]
        self._papers = paper_rows()
        self._pictures = Pictures(write, say, has_media)
        self._difficulties: dict[tuple[str, str], Difficulty | None] = {}
        self._specs: dict[str, dict[str, Any]] = {}

    def index(self) -> Context:
        """Return what the first page shows: the boards, then published rows."""
        return {
            "boards": [self._board(listing) for listing in self.listings],
            "published": self._published(self._papers),
        }

    def method(self, method: str) -> Context:
        """Return what a method's page shows: a section for each of its rows, published rows."""
        rows = [
            (listing, entry)
            for listing in self.listings
            for entry in listing.entries
            if entry.row.method == method
        ]
        newest = max((e.row.facts for _, e in rows), key=lambda facts: str(facts["created_at"]))
        card = self._method_card(rows[0][1])
        facts = {
            "Name": method,
            "Technique": str(newest["technique"]),
            "Sharing": str(newest["sharing"]),
            "Also called": ", ".join(as_lines(card.get("aliases"))),
            "Source": as_text(card.get("source") or ""),
        }
        return {
            "title": str(newest["title"] or method),
            "facts_": [(name, text) for name, text in facts.items() if text and text != NONE],
            "sections": [
                self._method_section(listing, entry, n < MOST_SAMPLED)
                for n, (listing, entry) in enumerate(rows)
            ],
            "published": self._published([row for row in self._papers if row.method == method]),
            "n_unsampled": max(0, len(rows) - MOST_SAMPLED),
        }

    def task(self, task: str) -> Context:
        """Return what a task's page shows: a section for each board that has the task."""
        listings = [listing for listing in self.listings if task in listing.board.mains]
        cards = [self._task_card(listing.board, task) for listing in listings]
        return {
            "title": next((str(card["title"]) for card in cards if card.get("title")), task),
            "sections": [
                self._task_section(listing, task, card)
                for listing, card in zip(listings, cards, strict=True)
            ],
        }

    def _entries(self, board: Board, anchor: str) -> list[Entry]:
        """An anchor is the board's where the method has one row there, else numbered."""
        anchors = numbered([f"{row.method}#{anchor}" for row in board.rows])
        return [
            Entry(row, text.rpartition("#")[2], self.methods[row.method])
            for row, text in zip(board.rows, anchors, strict=True)
        ]

    def _board(self, listing: Listing) -> Context:
        board = listing.board
        columns = [Column("trainable", "%", False, True), *metric_columns(board)]
        lines: list[Context] = [
            {
                "entry": entry,
                "title": str(entry.row.facts["title"] or entry.row.method),
                "technique": str(entry.row.facts["technique"]),
                "sharing": str(entry.row.facts["sharing"]),
                "is_complete": all(entry.row.stat(name).n for name in board.mains.values()),
                "cells": [
                    percent_cell(entry.row.facts["trainable_percent"]),
                    *metric_cells(entry.row, board, entry.href),
                    Cell(str(len(entry.row.seeds)), value=len(entry.row.seeds)),
                    *cost_cells(entry.row.facts, entry.row.costs),
                ],
            }
            for entry in listing.entries
        ]
        return {
            "at": listing.anchor,
            "title": listing.title,
            "columns": [*columns, Column("seeds", "n"), *COST_COLUMNS],
            "methods": [line for line in lines if not line["entry"].row.is_floor],
            "floors": [line for line in lines if line["entry"].row.is_floor],
            "majority": majority_cells(board),
            "techniques": sorted({line["technique"] for line in lines}),
            "sharings": sorted({line["sharing"] for line in lines}),
            "notes": board_notes(board),
            "charts": pareto_charts(board, listing.anchor, self.write),
            "sorted_column": -1 if board.order else len(columns) - 1,
            "is_tall": len(lines) > TALL,
        }

    def _method_section(self, listing: Listing, entry: Entry, is_sampled: bool) -> Context:
        board, row, card = listing.board, entry.row, self._method_card(entry)
        keys = {seed: row.runs[seed] for seed in sorted(row.runs)}
        logs = {seed: log for seed, key in keys.items() if (log := self._log(key))}
        validations = [
            (seed, epoch, values)
            for seed, log in logs.items()
            for epoch, values in log.validations.items()
        ]
        tuning = card["tuning"] if isinstance(card.get("tuning"), dict) else {}
        spec = self._spec(entry.key) if keys else {}
        chart = f"{Path(entry.page).stem}_{entry.anchor}"
        return {
            "at": entry.anchor,
            "title": f"{listing.title}{row.details}",
            "columns": metric_columns(board),
            "means": metric_cells(row, board),
            "runs": [self._run(board, row, seed) for seed in keys],
            "costs": zip(
                [Column("trainable", "%"), *COST_COLUMNS],
                [percent_cell(row.facts["trainable_percent"]), *cost_cells(row.facts, row.costs)],
                strict=True,
            ),
            "params": leaves(card.get("params")),
            "train": leaves(card.get("train")),
            "deviations": as_lines(card.get("deviations")),
            "tuning": _named(tuning, TUNING),
            "spec": json.dumps(spec, indent=1, ensure_ascii=False) if spec else "",
            "differing": differing([self._spec(key) for key in keys.values()]),
            "losses": loss_chart(row, logs.values(), chart, self.write) if is_sampled else None,
            "validation_names": list(
                dict.fromkeys(n for _, _, values in validations for n in values)
            ),
            "validations": validations,
            "tasks": [
                self._samples(listing, entry, task) for task in board.mains if is_sampled and keys
            ],
            "seed": min(keys, default=None),
        }

    def _run(self, board: Board, row: Row, seed: int) -> Context:
        """A run's numbers, and where they came from."""
        run = self.runs[row.runs[seed]]
        values = [run.values.get((metric, "")) for metric in board.mains.values()]
        cells = [Cell(number(value), value=value) for value in values]
        if len(values) > 1:
            average = run.average(list(board.mains.values()))
            n_scored = sum(value is not None for value in values)
            tail = f"{n_scored}/{len(values)}" if average is None else ""
            cells.append(Cell(number(average), tail, average))
        grounds = [(task, run.grounds[task]) for task in board.mains if task in run.grounds]
        return {
            "key": run.key,
            "code": run.facts["code_version"],
            "created": run.facts["created_at"],
            "seed": seed,
            "cells": cells,
            "facts": _named(run.facts, PROVENANCE),
            "data": [(task, ground.data_fingerprint) for task, ground in grounds],
            "command": command(self._spec(run.key)),
        }

    def _samples(self, listing: Listing, entry: Entry, task: str) -> Context:
        """Answers to some examples of a task; None where the predictions are not at hand."""
        file = predictions_file(self.results, entry.key, task)
        chosen = None
        if file.is_file():
            try:
                chosen = choose(file, self._difficulty(listing, task))
            except DataError as error:
                self.say(f"no samples: {error}")
        samples, worst = (
            [self._example(listing, task, entry.key, prediction) for prediction in predictions]
            for predictions in chosen or ([], [])
        )
        page = self.tasks[task]
        return {"name": task, "page": page, "has": bool(chosen), "samples": samples, "worst": worst}

    def _task_section(self, listing: Listing, task: str, card: Mapping[str, Any]) -> Context:
        board = listing.board
        facts = [(text, as_text(card[name])) for name, text in TASK_CARD.items() if card.get(name)]
        splits = card.get("splits")
        if isinstance(splits, dict):
            facts += [(f"Split: {part}", text) for part, text in leaves(splits.get(board.edition))]
        if (ground := board.grounds.get(task)) is not None:
            facts.append(("Test examples", f"{ground.n_examples:,}"))
            facts.append(("Data fingerprint", ground.data_fingerprint))
        known = self._difficulty(listing, task)
        return {
            "at": listing.anchor,
            "title": listing.title,
            "facts": facts,
            "deviations": as_lines(card.get("deviations")),
            "main": metrics_grid(listing, task),
            "families": families_grid(listing, task),
            "hardest": self._hardest(listing, task, known) if known else [],
            "n_scored": len(known.keys) if known else 0,
        }

    def _hardest(self, listing: Listing, task: str, known: Difficulty) -> list[Context]:
        """The examples that most methods fail on, with the answers they gave."""
        ids, keys = known.hardest(N_HARDEST), known.keys[:MOST_ANSWERS]
        runs = [read_predictions(predictions_file(self.results, key, task), ids) for key in keys]
        return [
            {
                "prediction": self._example(listing, task, keys[0], runs[0][name]),
                "answers": Counter(run[name].prediction for run in runs).most_common(3),
            }
            for name in ids
        ]

    def _example(self, listing: Listing, task: str, key: str, prediction: Prediction) -> Context:
        """A prediction with the example's pictures and its mean score over methods."""
        spec, known = self._spec(key), self._difficulty(listing, task)
        return {
            "example": prediction,
            "pictures": self._pictures.of(spec, task_card(spec, task), prediction),
            "mean": known.mean(prediction.id) if known else None,
        }

    def _difficulty(self, listing: Listing, task: str) -> Difficulty | None:
        """Baselines that look at nothing do not count."""
        if (listing.anchor, task) not in self._difficulties:
            methods = [entry for entry in listing.entries if not entry.row.is_floor]
            keys = [entry.key for entry in methods[:MOST_SCORED] if entry.key]
            self._difficulties[listing.anchor, task] = difficulty(self.results, keys, task)
        return self._difficulties[listing.anchor, task]

    def _spec(self, key: str) -> dict[str, Any]:
        """The spec of a run; some are kept, as several pages need the same ones."""
        if key not in self._specs:
            if len(self._specs) >= MOST_SPECS:
                self._specs.clear()
            self._specs[key] = read_spec(self.results, key)
        return self._specs[key]

    def _method_card(self, entry: Entry) -> dict[str, Any]:
        """The method card as the row's run resolved it."""
        card = self._spec(entry.key).get("method") if entry.key else None
        return card if isinstance(card, dict) else {}

    def _task_card(self, board: Board, task: str) -> dict[str, Any]:
        """The task's card in the newest run of a board that has it."""
        for run in sorted(board.runs, key=lambda run: run.age, reverse=True):
            if card := task_card(self._spec(run.key), task):
                return card
        return {}

    def _log(self, key: str) -> Log | None:
        try:
            return read_log(self.results, key)
        except DataError as error:
            self.say(f"no training curve: {error}")
            return None

    def _published(self, rows: Sequence[PaperRow]) -> list[Context]:
        """A table for each suite of the site that papers have rows of."""
        suites = dict.fromkeys(listing.board.suite for listing in self.listings)
        by_suite = {suite: [row for row in rows if row.suite == suite] for suite in suites}
        return [paper_table(suite, rows, self.methods) for suite, rows in by_suite.items() if rows]


def _named(values: Mapping[str, Any], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """The values that are there, each with its name on the page."""
    return [
        (text, as_text(values[name]))
        for name, text in names.items()
        if values.get(name) not in (None, "", [])
    ]


def page_names(texts: Iterable[str]) -> dict[str, str]:
    """Return a page name for each text: lower-case letters, digits and hyphens only.

    A text that is such a name itself keeps it; any other gets hex digits of its hash behind what is
    left of it, so that `LoRA`, `lora` and `../lora` are three pages on any file system.
    """
    wanted = sorted(set(texts))
    names = {text: text for text in wanted if text and _slug(text) == text}
    for text in wanted:
        if text not in names:
            digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            taken = set(names.values())
            hashed = (f"{_slug(text)}-{digits[:n]}".lstrip("-") for n in range(8, len(digits) + 1))
            names[text] = next(name for name in hashed if name not in taken)
    return names


def numbered(names: Sequence[str]) -> list[str]:
    """Return the names, each new: a second `board` is `board-2`."""
    chosen: dict[str, None] = {}
    wanted = set(names)
    for name in names:
        others = (f"{name}-{n}" for n in count(2))
        free = (other for other in others if other not in chosen and other not in wanted)
        chosen[next(free) if name in chosen else name] = None
    return list(chosen)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:LONGEST_NAME].strip("-")


def _anchor(board: Board) -> str:
    """`image-text-mini-bart-mini`, and what cut the data."""
    cut = "" if board.scope == "complete" else f" {board.scope} {board.limit or ''}"
    return _slug(f"{board.suite} {board.backbone} {board.edition}{cut}") or "board"
