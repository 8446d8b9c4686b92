"""Published rows as tables of their own: nothing in them was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.numbers import number, short_metric
from vlbench.leaderboard.paper import PaperRow, Printed
from vlbench.leaderboard.site.cells import Cell, Column, percent_cell
from vlbench.leaderboard.site.layout import Layout


@dataclass(frozen=True)
class PublishedLine:
    """A published row: whose, of which method, its numbers and where they stand."""

    row: PaperRow
    href: str
    """The page of the method that is meant, where the site has one."""
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Published:
    """The published rows of a suite."""

    suite: str
    columns: Sequence[Column]
    lines: Sequence[PublishedLine]


def published(
    layout: Layout, papers: Iterable[PaperRow], method: str | None = None
) -> list[Published]:
    """A table for each suite of the site that papers have rows of; only of `method` if given."""
    suites = dict.fromkeys(place.board.suite for place in layout.places)
    rows = [row for row in papers if method is None or row.method == method]
    tables = [
        _table(suite, [row for row in rows if row.suite == suite], layout) for suite in suites
    ]
    return [table for table in tables if table.lines]


def _table(suite: str, rows: Sequence[PaperRow], layout: Layout) -> Published:
    metrics = _metrics(rows)
    columns = [Column("trainable", "%", False, True), *(_column(metric) for metric in metrics)]
    lines = [_line(row, metrics, layout) for row in rows]
    return Published(suite, [*columns, Column("seeds", "n")], lines)


def _metrics(rows: Iterable[PaperRow]) -> list[str]:
    """The metrics that are printed, the average last."""
    names = dict.fromkeys(name for row in rows for name in row.metrics)
    return sorted(names, key=lambda name: name == AVERAGE)


def _column(metric: str) -> Column:
    task = metric.partition(".")[0]
    return Column(task, short_metric(metric, task))


def _line(row: PaperRow, metrics: Sequence[str], layout: Layout) -> PublishedLine:
    cells = [
        percent_cell(row.trainable_percent),
        *(_cell(row.metrics.get(name)) for name in metrics),
    ]
    href = layout.method_page(row.method) if row.method in layout.methods else ""
    return PublishedLine(row, href, [*cells, Cell(str(row.seeds), value=row.seeds)])


def _cell(printed: Printed | None) -> Cell:
    if printed is None:
        return Cell(number(None))
    tail = "" if printed.std is None else f"±{printed.std:.2f}"
    return Cell(number(printed.mean, digits=2), tail, printed.mean)
