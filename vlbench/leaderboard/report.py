"""The report in each of its formats, from boards."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from vlbench.leaderboard.sheets import Sheet, cost_sheet, family_sheets, main_sheet
from vlbench.leaderboard.summary import Board, Row
from vlbench.leaderboard.tables import UNWRAPPED, markdown_sheet, print_sheet

SCHEMA = "vlbench.report/1"


def sheets(boards: Sequence[Board], families: bool = False, costs: bool = False) -> list[Sheet]:
    """The tables to show: a leaderboard per board, and what was asked for after each."""
    found = []
    for board in boards:
        found.append(main_sheet(board))
        found += [cost_sheet(board)] if costs else []
        found += family_sheets(board) if families else []
    return found


def print_tables(sheets: Sequence[Sheet], console: Console) -> None:
    """Print the tables with a blank line between them."""
    for index, sheet in enumerate(sheets):
        if index:
            console.print()
        print_sheet(sheet, console)


def as_text(sheets: Sequence[Sheet]) -> str:
    """The tables as plain text, neither wrapped nor cut."""
    page = io.StringIO()
    print_tables(sheets, Console(file=page, width=UNWRAPPED, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def as_markdown(sheets: Sequence[Sheet]) -> str:
    """The tables as Markdown."""
    return "\n".join(markdown_sheet(sheet) for sheet in sheets)


def as_json(boards: Sequence[Board], families: bool = False, costs: bool = False) -> str:
    """One item per row of each board, numbers unrounded."""
    items = [_item(board, row, families, costs) for board in boards for row in board.rows]
    document = {"schema": SCHEMA, "items": items}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _item(board: Board, row: Row, families: bool, costs: bool) -> dict[str, Any]:
    overall = [metric for metric, family in row.stats if not family]
    names = ("title", "technique", "sharing", "card_hash", "trainable_parameters")
    item = {
        "method": row.method,
        "backbone": board.backbone,
        "suite": board.suite,
        "edition": board.edition,
        "scope": board.scope,
        "seeds": list(row.seeds),
        "trainable_percent": row.facts["trainable_percent"],
        "metrics": {metric: asdict(row.stat(metric)) for metric in overall},
        "average": asdict(row.average) if row.average.n else None,
        "tasks": list(board.mains),
        "majority": dict(board.majority),
        "below_floor": sorted(row.below_floor),
        "limit": board.limit,
        "split": "test",
        "settings": row.settings,
        "init": row.init,
        **{name: row.facts[name] for name in (*names, "total_parameters", "denominator")},
        "data": {task: ground._asdict() for task, ground in board.grounds.items()},
    }
    if costs:
        item["costs"] = {name: asdict(stat) for name, stat in row.costs.items()}
    if families:
        item["families"] = _families(board, row)
    return item


def _families(board: Board, row: Row) -> dict[str, Any]:
    """By main metric and family: examples, majority and the row's value."""
    found: dict[str, Any] = {}
    for (metric, name), family in board.families.items():
        if name:
            stat = asdict(row.stat(metric, name))
            found.setdefault(metric, {})[name] = family._asdict() | stat
    return found
