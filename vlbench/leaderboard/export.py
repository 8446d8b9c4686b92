"""The report as data: JSON with an item per row, and one CSV table; numbers unrounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from vlbench.leaderboard.board import AVERAGE, PLACE, Board, Row, Stat, is_below_floor
from vlbench.leaderboard.paper import PaperPart, PaperRow, Published, published_parts
from vlbench.leaderboard.tables import board_notes, has_majority, title
from vlbench.text import printable_json

SCHEMA = "vlbench.report/1"
FACTS = (
    "title", "technique", "sharing", "card_hash", "trainable_parameters", "total_parameters",
    "denominator",
)  # fmt: skip
SOURCE = ("paper", "table", "kind", "strength", "run_by")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, in full width too."""
Group = dict[str, Any]
"""Cells by column."""


def as_json(
    boards: Sequence[Board],
    families: bool = False,
    costs: bool = False,
    papers: Sequence[PaperPart] = (),
) -> str:
    """Write items, titles and notes of the boards and, with `papers`, published rows as JSON."""
    items = [_item(board, row, families, costs) for board in boards for row in board.rows]
    document: Group = {"schema": SCHEMA, "items": items}
    document["boards"] = [
        _place(board) | {"title": title(board), "notes": board_notes(board)} for board in boards
    ]
    if papers:
        document["published"] = [
            _published_item(published, board, part)
            for board, part in zip(boards, papers, strict=True)
            for published in part.rows
        ]
    return printable_json(document) + "\n"


def as_csv(
    boards: Sequence[Board],
    families: bool = False,
    costs: bool = False,
    papers: Sequence[PaperPart] = (),
) -> str:
    """Write every row of the boards, of the majority answers and, with `papers`, of the papers.

    The column `origin` says which: measured, computed (no run), published. Cells without a value
    are empty. Lines end as RFC 4180 has it. Text that a spreadsheet would take for a formula gets
    an apostrophe in front, as spreadsheets themselves write it; numbers stay numbers.
    """
    lines: list[Sequence[Group]] = []
    for board, part in published_parts(boards, papers):
        lines += [_measured(board, row, families, costs) for row in board.rows]
        if has_majority(board):
            place = _origin("computed", "majority answer", board) | {"split": "test"}
            scores = {f"{name}.mean": s for name, s in board.majority.items() if s is not None}
            lines.append((place, scores, {}, {}, {}))
        lines += [_published_line(published, board) for published in part.rows] if part else []
    groups = zip(*lines, strict=True)
    columns = dict.fromkeys(name for group in groups for cells in group for name in cells)
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerow(map(_cell, columns))
    for line in lines:
        cells = {name: value for group in line for name, value in group.items()}
        writer.writerow([_cell(cells.get(name)) for name in columns])
    return page.getvalue()


def _metrics(board: Board, row: Row) -> list[str]:
    """Metrics of all examples: the main ones in the suite's order, then the row's others."""
    mains = [metric for task, metric in board.mains.items() if metric != task]
    return list(dict.fromkeys([*mains, *(name for name, family in row.stats if not family)]))


def _place(board: Board) -> Group:
    names = ("backbone", "suite", "edition", "scope", "limit", "apart")
    return {name: getattr(board, name) for name in names}


def _item(board: Board, row: Row, families: bool, costs: bool) -> Group:
    item = {
        "method": row.method,
        "backbone": board.backbone,
        "suite": board.suite,
        "edition": board.edition,
        "scope": board.scope,
        "seeds": list(row.seeds),
        "trainable_percent": row.facts["trainable_percent"],
        "metrics": {name: row.stat(name)._asdict() for name in _metrics(board, row)},
        "average": row.average._asdict() if row.average.n and not board.is_part else None,
        "tie_group": row.ties.get(AVERAGE),
        "below_floor": is_below_floor(row),
        "tie_groups": dict(row.ties),
        "below_floor_metrics": sorted(row.below_floor),
        "tasks": list(board.mains),
        "majority": dict(board.majority),
        "limit": board.limit,
        "split": "test",
        "settings": row.settings,
        "init": row.init,
        **{name: row.facts[name] for name in FACTS},
        "runs": {str(seed): key for seed, key in row.runs.items()},
        "data": {task: ground._asdict() for task, ground in board.grounds.items()},
    }
    if costs:
        item["costs"] = {name: stat._asdict() for name, stat in row.costs.items()}
    if families:
        values: dict[str, Group] = {}
        for (metric, name), family in board.families.items():
            if name:
                stat = row.stat(metric, name)._asdict()
                values.setdefault(metric, {})[name] = family._asdict() | stat
        item["families"] = values
    return item


def _published_item(published: Published, board: Board, part: PaperPart) -> Group:
    """A published row, the board that it is shown with and what lies between them."""
    row = published.row
    printed = {name: value._asdict() for name, value in row.metrics.items()}
    return {
        "method": row.method,
        "method_in_source": row.method_in_source,
        "backbone": row.backbone,
        "suite": row.suite,
        "edition": "full",
        "n_seeds": row.seeds,
        "trainable_percent": row.trainable_percent,
        "metrics": {name: value for name, value in printed.items() if name != AVERAGE},
        "average": printed.get(AVERAGE),
        "source": {name: getattr(row, name) for name in SOURCE},
        "shown_with": _place(board),
        "not_comparable": list(part.otherwise),
        "difference": dict(published.differences) or None,
    }


def _measured(board: Board, row: Row, families: bool, costs: bool) -> Sequence[Group]:
    """Groups of columns: what the row is, scores, families, costs, the source."""
    data = " ".join(f"{task}={ground.data_fingerprint}" for task, ground in board.grounds.items())
    place = _origin("measured", row.method, board) | {
        "split": "test",
        "settings": row.settings,
        "init": row.init,
        "seeds": " ".join(map(str, row.seeds)),
        "n_seeds": len(row.seeds),
        "trainable_percent": row.facts["trainable_percent"],
        "below_floor": is_below_floor(row),
        **{name: row.facts[name] for name in (*FACTS, "backbone_hash")},
        "data": data,
        "runs": " ".join(row.runs.values()),
    }
    scores: Group = {}
    for name in [*([] if board.is_part else [AVERAGE]), *_metrics(board, row)]:
        stat = row.stat(name)
        scores |= _stat(name, stat)
        if name == AVERAGE or name in board.mains.values():
            scores[f"{name}.tie_group"] = row.ties.get(name)
            scores[f"{name}.below_floor"] = name in row.below_floor if stat.n else None
    values: Group = {}
    for (metric, name), family in board.families.items():
        if families and name:
            column = f"{metric}[{name}]"
            values |= _stat(column, row.stat(metric, name))
            values[f"{column}.majority"] = family.majority
            values[f"{column}.n_examples"] = family.n_examples
    spent: Group = {}
    for name, stat in row.costs.items():
        spent |= _stat(name, stat) if costs else {}
    return place, scores, values, spent, {}


def _published_line(published: Published, board: Board) -> Sequence[Group]:
    row: PaperRow = published.row
    place = _origin("published", row.method, board) | {
        "backbone": row.backbone,
        "edition": "full",
        "scope": None,
        "limit": None,
        "n_seeds": row.seeds,
        "trainable_percent": row.trainable_percent,
    }
    scores: Group = {}
    for name, printed in row.metrics.items():
        scores |= _stat(name, Stat(*printed, row.seeds))
    source: Group = {f"source.{name}": getattr(row, name) for name in SOURCE}
    source["source.method"] = row.method_in_source
    source |= {f"{name}.difference": value for name, value in published.differences.items()}
    return place, scores, {}, {}, source


def _origin(origin: str, method: str | None, board: Board) -> Group:
    place = {name: getattr(board, name) for name in PLACE}
    return {"origin": origin, "method": method, **place}


def _stat(name: str, stat: Stat) -> Group:
    return {f"{name}.mean": stat.mean, f"{name}.std": stat.std, f"{name}.n": stat.n}


def _cell(value: object) -> object:
    """A value as the file holds it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
