"""The report as one CSV table: a line per row, numbers unrounded, empty cells where there are none.

Lines end as RFC 4180 has it. Text that a spreadsheet would take for a formula gets an apostrophe in
front, as spreadsheets themselves write it; numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from vlbench.leaderboard.items import FACTS, shown_metrics, source
from vlbench.leaderboard.marks import AVERAGE, is_below_floor
from vlbench.leaderboard.notes import has_majority
from vlbench.leaderboard.paper_rows import PaperPart, Published
from vlbench.leaderboard.summary import Board, Row, Stat

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, in full width too."""
Group = dict[str, Any]
"""Cells by column."""
Line = tuple[Group, ...]
"""The groups of columns: what the row is, scores, families, costs, the source."""


def as_csv(
    boards: Sequence[Board],
    families: bool = False,
    costs: bool = False,
    papers: Sequence[PaperPart] = (),
) -> str:
    """Every row of the boards, of the majority answers and, with `papers`, of the papers.

    The column `origin` says which: measured, computed (no run), published.
    """
    lines: list[Line] = []
    parts: list[PaperPart | None] = [*papers] or [None] * len(boards)
    for board, part in zip(boards, parts, strict=True):
        lines += [_measured(board, row, families, costs) for row in board.rows]
        lines += [_majority(board)] if has_majority(board) else []
        lines += [_published(each, board) for each in part.rows] if part else []
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    columns = _columns(lines)
    writer.writerow(map(_cell, columns))
    for line in lines:
        cells = {name: value for group in line for name, value in group.items()}
        writer.writerow([_cell(cells.get(name)) for name in columns])
    return page.getvalue()


def _columns(lines: Sequence[Line]) -> list[str]:
    """The columns of all lines, group by group."""
    groups = zip(*lines, strict=True)
    return list(dict.fromkeys(name for group in groups for cells in group for name in cells))


def _cell(value: object) -> object:
    """A value as the file holds it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def _measured(board: Board, row: Row, families: bool, costs: bool) -> Line:
    place = _place("measured", row.method, board) | {
        "split": "test",
        "settings": row.settings,
        "init": row.init,
        "seeds": " ".join(map(str, row.seeds)),
        "n_seeds": len(row.seeds),
        "trainable_percent": row.facts["trainable_percent"],
        "below_floor": is_below_floor(row),
        **{name: row.facts[name] for name in (*FACTS, "backbone_hash")},
        "data": " ".join(
            f"{task}={ground.data_fingerprint}" for task, ground in board.grounds.items()
        ),
        "runs": " ".join(row.runs.values()),
    }
    scores = {} if board.is_part else _tested(row, AVERAGE, row.average)
    for name in shown_metrics(board, row):
        is_main = name in board.mains.values()
        scores |= _tested(row, name, row.stat(name)) if is_main else _stat(name, row.stat(name))
    return (
        place,
        scores,
        _families(board, row) if families else {},
        _costs(row) if costs else {},
        {},
    )


def _majority(board: Board) -> Line:
    """What always giving the most frequent answer scores."""
    means = {f"{name}.mean": score for name, score in board.majority.items() if score is not None}
    return _place("computed", "majority answer", board) | {"split": "test"}, means, {}, {}, {}


def _published(each: Published, board: Board) -> Line:
    row = each.row
    place = _place("published", row.method, board) | {
        "backbone": row.backbone,
        "edition": "full",
        "scope": None,
        "limit": None,
        "n_seeds": row.seeds,
        "trainable_percent": row.trainable_percent,
    }
    scores: Group = {}
    for name, printed in row.metrics.items():
        scores |= {f"{name}.mean": printed.mean, f"{name}.std": printed.std, f"{name}.n": row.seeds}
    differences = {f"{name}.difference": value for name, value in each.differences.items()}
    named = {f"source.{name}": text for name, text in source(row).items()}
    return place, scores, {}, {}, {**named, "source.method": row.method_in_source, **differences}


def _place(origin: str, method: str | None, board: Board) -> Group:
    names = ("suite", "backbone", "edition", "scope", "limit")
    place = {name: getattr(board, name) for name in names}
    return {"origin": origin, "method": method, **place}


def _stat(name: str, stat: Stat) -> Group:
    return {f"{name}.mean": stat.mean, f"{name}.std": stat.std, f"{name}.n": stat.n}


def _tested(row: Row, name: str, stat: Stat) -> Group:
    """A mean with its tie group, and whether it is at or below a floor."""
    below = name in row.below_floor if stat.n else None
    return _stat(name, stat) | {
        f"{name}.tie_group": row.ties.get(name),
        f"{name}.below_floor": below,
    }


def _families(board: Board, row: Row) -> Group:
    found: Group = {}
    for (metric, name), family in board.families.items():
        if name:
            found |= _stat(f"{metric}[{name}]", row.stat(metric, name))
            found[f"{metric}[{name}].majority"] = family.majority
            found[f"{metric}[{name}].n_examples"] = family.n_examples
    return found


def _costs(row: Row) -> Group:
    return {
        key: value for name, stat in row.costs.items() for key, value in _stat(name, stat).items()
    }
