"""The report as JSON: an item per row of each board, published rows apart, numbers unrounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vlbench.leaderboard.marks import AVERAGE, is_below_floor
from vlbench.leaderboard.notes import board_notes
from vlbench.leaderboard.paper_rows import PaperPart, Published
from vlbench.leaderboard.sheets import title
from vlbench.leaderboard.summary import Board, Row
from vlbench.text import printable_json

SCHEMA = "vlbench.report/1"
FACTS = (
    "title", "technique", "sharing", "card_hash", "trainable_parameters", "total_parameters",
    "denominator",
)  # fmt: skip


def as_json(
    boards: Sequence[Board],
    families: bool = False,
    costs: bool = False,
    papers: Sequence[PaperPart] = (),
) -> str:
    """The document: items, what the boards say of themselves and, with `papers`, published rows."""
    items = [_item(board, row, families, costs) for board in boards for row in board.rows]
    document: dict[str, Any] = {"schema": SCHEMA, "items": items}
    document["boards"] = [
        _place(board) | {"title": title(board), "notes": board_notes(board)} for board in boards
    ]
    if papers:
        document["published"] = [
            _published(each, board, part)
            for board, part in zip(boards, papers, strict=True)
            for each in part.rows
        ]
    return printable_json(document) + "\n"


def shown_metrics(board: Board, row: Row) -> list[str]:
    """Metrics of all examples: the main ones in the suite's order, then the row's others."""
    mains = [metric for task, metric in board.mains.items() if metric != task]
    return list(dict.fromkeys([*mains, *(name for name, family in row.stats if not family)]))


def _place(board: Board) -> dict[str, Any]:
    names = ("backbone", "suite", "edition", "scope", "limit", "apart")
    return {name: getattr(board, name) for name in names}


def _item(board: Board, row: Row, families: bool, costs: bool) -> dict[str, Any]:
    item = {
        "method": row.method,
        "backbone": board.backbone,
        "suite": board.suite,
        "edition": board.edition,
        "scope": board.scope,
        "seeds": list(row.seeds),
        "trainable_percent": row.facts["trainable_percent"],
        "metrics": {name: asdict(row.stat(name)) for name in shown_metrics(board, row)},
        "average": asdict(row.average) if row.average.n and not board.is_part else None,
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


def _published(each: Published, board: Board, part: PaperPart) -> dict[str, Any]:
    """A published row, the board that it is shown with and what lies between them."""
    printed: Mapping[str, Any] = {name: value._asdict() for name, value in each.row.metrics.items()}
    return {
        "method": each.row.method,
        "method_in_source": each.row.method_in_source,
        "backbone": each.row.backbone,
        "suite": each.row.suite,
        "edition": "full",
        "n_seeds": each.row.seeds,
        "trainable_percent": each.row.trainable_percent,
        "metrics": {name: value for name, value in printed.items() if name != AVERAGE},
        "average": printed.get(AVERAGE),
        "source": source(each.row),
        "shown_with": _place(board),
        "not_comparable": list(part.otherwise),
        "difference": dict(each.differences) or None,
    }


def source(row: Any) -> dict[str, str]:
    """Where a published row stands, who ran it and how it was read."""
    return {name: getattr(row, name) for name in ("paper", "table", "kind", "strength", "run_by")}
