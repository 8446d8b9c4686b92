"""Published rows as data (`results/paper/rows.json`): who printed what, and how it was read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vlbench.errors import MissingError

PACKAGE = Path(__file__).resolve().parents[1]
TRUST = ("VL-Adapter", "VL-PET")
"""Beginnings of a row's paper in the order they are believed; any other paper comes after these.
VL-PET's table also holds LST's numbers on T5."""


class Printed(NamedTuple):
    """A printed number: the mean over the row's seeds, and the deviation where one is printed."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class PaperRow:
    """A row of a published table."""

    suite: str
    backbone: str
    method: str | None
    """vlbench's name; None where no method of vlbench is meant, and `note` says why."""
    method_in_source: str
    """The paper's name."""
    trainable_percent: float | None
    """As printed; None where nothing is printed."""
    metrics: Mapping[str, Printed]
    """By `task.metric` in percent (CIDEr x 100), and `average`, the plain mean as printed."""
    seeds: int
    run_by: str
    """Who trained it: a paper may quote or repeat another's rows."""
    paper: str
    table: str
    kind: Literal["main", "analysis"]
    """analysis: a row of an ablation."""
    strength: str
    """How the numbers were read, and so how far they can be trusted."""
    note: str = ""


def paper_file() -> Path:
    """The file of published rows: that of the checkout, else the copy that the wheel carries."""
    checkout = PACKAGE.parent
    file = checkout / "results" / "paper" / "rows.json"
    if (checkout / "pyproject.toml").is_file() and file.is_file():
        return file
    return PACKAGE / "_cards" / "paper" / "rows.json"


def paper_rows() -> list[PaperRow]:
    """Every published row, in the file's order."""
    file = paper_file()
    try:
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    except FileNotFoundError:
        raise MissingError(f"{file}: no such file; installing vlbench again mends it") from None
    return [_row(row) for row in rows]


def published_percent(method: str, backbone: str, suite: str) -> float | None:
    """The percentage of trainable parameters printed for a method there; None where none is.

    Where several papers print one, VL-Adapter's own counts, then VL-PET's table (with the rows it
    quotes from LST), then any other; within a paper its main tables before its ablations, then the
    file's order.
    """
    printed = [
        (trust(row), row.trainable_percent)
        for row in paper_rows()
        if (row.method, row.backbone, row.suite) == (method, backbone, suite)
        and row.trainable_percent is not None
    ]
    return min(printed, key=lambda each: each[0])[1] if printed else None


def trust(row: PaperRow) -> tuple[int, bool]:
    """What rows are sorted by: lower is believed first."""
    paper = row.paper.split(" (")[0]
    rank = TRUST.index(paper) if paper in TRUST else len(TRUST)
    return rank, row.kind == "analysis"


def _row(table: dict[str, Any]) -> PaperRow:
    metrics = {name: Printed(**value) for name, value in table["metrics"].items()}
    return PaperRow(**{**table, "metrics": metrics})
