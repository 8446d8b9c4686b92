"""A comparison as JSON: an item per task and average of each place, numbers unrounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlbench.leaderboard.compare_sheets import compare_sheets
from vlbench.leaderboard.compared import Item, Pair, Side
from vlbench.leaderboard.gate import Gate
from vlbench.leaderboard.statistics import LEVEL
from vlbench.text import printable_json

SCHEMA = "vlbench.compare/2"


def compare_json(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """The document: items, the gate's outcome (null without one), and the notes of each place.

    The reason says why there are no items, and is null where there are.
    """
    document = {
        "schema": SCHEMA,
        "items": [_item(pair, item) for pair in pairs for item in pair.items],
        "gate": _gate(gate) if gate else None,
        "level": LEVEL,
        "reason": reason or None,
        "places": [
            {"title": sheet.title, "notes": list(sheet.notes)} for sheet in compare_sheets(pairs)
        ],
    }
    return printable_json(document) + "\n"


def _item(pair: Pair, item: Item) -> dict[str, Any]:
    tested = item.tested
    return {
        **_place(pair),
        "task": item.task,
        "metric": item.metric,
        "verdict": item.verdict,
        "reason": item.reason or None,
        "difference": tested.difference if tested else None,
        "low": item.interval[0] if item.interval else None,
        "high": item.interval[1] if item.interval else None,
        "level": item.level if tested else None,
        "p": tested.p if tested else None,
        "p_holm": item.p_holm,
        "n_examples": tested.n_examples if tested else None,
        "test": tested.name if tested else None,
        "a": _side(pair.a, item, item.a, item.seeds_a),
        "b": _side(pair.b, item, item.b, item.seeds_b),
    }


def _place(pair: Pair) -> dict[str, Any]:
    names = ("backbone", "suite", "edition", "scope", "limit")
    return {name: getattr(pair.board, name) for name in names}


def _side(
    side: Side | None, item: Item, value: float | None, seeds: Sequence[int]
) -> dict[str, Any] | None:
    """Who it was, its mean over seeds, and what that stands on."""
    if side is None:
        return None
    row, ground = side.row, side.board.grounds.get(item.task)
    return {
        "method": row.method,
        "settings": row.settings,
        "init": row.init,
        "card_hash": row.facts["card_hash"],
        "results": str(side.examples.folder),
        "value": value,
        "runs": {str(seed): row.runs[seed] for seed in seeds or row.seeds},
        "data_fingerprint": ground.data_fingerprint if ground else None,
    }


def _gate(gate: Gate) -> dict[str, Any]:
    return {
        "max_drop": gate.max_drop,
        "is_passed": gate.is_passed,
        "compared": gate.compared,
        "faults": [
            {
                **_place(fault.pair),
                "task": fault.item.task,
                "metric": fault.item.metric,
                "kind": fault.kind,
                "text": fault.text,
            }
            for fault in gate.faults
        ],
    }
