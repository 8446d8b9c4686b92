"""Published rows as tables of their own: nothing in them was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlbench.leaderboard.board import AVERAGE
from vlbench.leaderboard.paper import PaperRow, Printed
from vlbench.leaderboard.site.cells import Cell, Column, percent_cell
from vlbench.leaderboard.site.layout import Layout
from vlbench.leaderboard.tables import number, short_metric


@dataclass(frozen=True)
class PublishedLine:
    """A published row: of which method, and its numbers."""

    row: PaperRow
    href: str
    """The page of the method that is meant, where the site has one."""
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Group:
    """Rows that stand in one table of one paper, were trained by the same and read alike."""

    title: str
    details: str
    lines: Sequence[PublishedLine]


@dataclass(frozen=True)
class Published:
    """The published rows of a suite."""

    suite: str
    columns: Sequence[Column]
    groups: Sequence[Group]


def published(
    layout: Layout, papers: Iterable[PaperRow], method: str | None = None
) -> list[Published]:
    """A table for each suite of the site that papers have rows of; only of `method` if given."""
    suites = dict.fromkeys(place.board.suite for place in layout.places)
    rows = [row for row in papers if method is None or row.method == method]
    tables = [
        _table(suite, [row for row in rows if row.suite == suite], layout) for suite in suites
    ]
    return [table for table in tables if table.groups]


def _table(suite: str, rows: Sequence[PaperRow], layout: Layout) -> Published:
    metrics = _metrics(rows)
    columns = [Column("trainable", "%", False, True), *(_column(metric) for metric in metrics)]
    found: dict[tuple[str, str], list[PublishedLine]] = {}
    for row in rows:
        found.setdefault(_source(row), []).append(_line(row, metrics, layout))
    groups = [Group(*source, lines) for source, lines in found.items()]
    return Published(suite, [*columns, Column("seeds", "n")], groups)


def _source(row: PaperRow) -> tuple[str, str]:
    """Where a row stands, and whose it is."""
    ablation = " (ablation)" if row.kind == "analysis" else ""
    by = "" if row.run_by == row.paper else f"Run by {row.run_by}. "
    title = f"{row.paper}, {row.table}{ablation}: {row.backbone}"
    return title, f"{by}Read from {row.strength}."


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
