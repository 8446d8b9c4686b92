"""Tables on a terminal, as plain text and as Markdown."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from vlbench.leaderboard.board import BELOW, BEST
from vlbench.leaderboard.export import as_csv, as_json
from vlbench.leaderboard.latex import as_latex
from vlbench.leaderboard.tables import Cell, Heading, Sheet, sheets

__all__ = ["as_csv", "as_json", "as_latex", "as_markdown", "as_text", "print_tables", "sheets"]

UNWRAPPED = 10_000
"""Columns of a page that never wraps or cuts a line."""


class Layout(NamedTuple):
    """How wide a table is laid out."""

    gap: int
    """Characters between columns."""
    is_broken: bool
    """Whether long headings stand in several lines."""
    is_stacked: bool
    """Whether deviations stand below means."""


LAYOUTS = (
    Layout(3, False, False),
    Layout(2, False, False),
    Layout(2, True, False),
    Layout(1, True, False),
    Layout(2, True, True),
    Layout(1, True, True),
)
"""The first that fits is taken."""


def print_tables(sheets: Sequence[Sheet], console: Console) -> None:
    """Print the tables with a blank line between them."""
    for index, sheet in enumerate(sheets):
        if index:
            console.print()
        print_sheet(sheet, console)


def as_text(sheets: Sequence[Sheet]) -> str:
    """Write the tables as plain text, neither wrapped nor cut."""
    page = io.StringIO()
    print_tables(sheets, Console(file=page, width=UNWRAPPED, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def as_markdown(sheets: Sequence[Sheet]) -> str:
    """Write the tables as Markdown."""
    return "\n".join(markdown_sheet(sheet) for sheet in sheets)


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print title, table and notes; a table that is too wide in any layout comes in parts."""
    console.print(Text(sheet.title, style="bold"), "", sep="\n")
    for table in _fitting(sheet, console):
        console.print(table, "", sep="\n")
    console.print(*(Text(note, style="dim") for note in sheet.notes), sep="\n")


def _fitting(sheet: Sheet, console: Console) -> Iterator[Table]:
    """The table in the widest layout that fits, or else columns of it as several tables."""
    columns = len(sheet.headings) - 1
    for parts in range(1, max(1, columns) + 1):
        pieces = [
            _columns(sheet, columns * part // parts, columns * (part + 1) // parts)
            for part in range(parts)
        ]
        for layout in LAYOUTS if parts == 1 else LAYOUTS[-2:]:
            tables = [_rich_table(piece, layout) for piece in pieces]
            if all(_width(table, console) <= console.width for table in tables):
                yield from tables
                return
    for piece in pieces:  # a single column is too wide: the line goes on beyond the edge
        table = _rich_table(piece, LAYOUTS[-1])
        table.width = _width(table, console)
        yield table


def _columns(sheet: Sheet, begin: int, end: int) -> Sheet:
    """The first column, and some of the others."""

    def cut(line: Sequence[Cell]) -> list[Cell]:
        return [line[0], *line[begin + 1 : end + 1]]

    headings = [sheet.headings[0], *sheet.headings[begin + 1 : end + 1]]
    sections = [[cut(row) for row in section] for section in sheet.sections]
    return replace(sheet, headings=headings, sections=sections)


def _width(table: Table, console: Console) -> int:
    free = console.options.update(width=UNWRAPPED)
    return Measurement.get(console, free, table).maximum


def _rich_table(sheet: Sheet, layout: Layout) -> Table:
    right = layout.gap - 1  # the box itself puts one character between columns
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, right, 0, 0))
    headings = list(map(_broken, sheet.headings)) if layout.is_broken else sheet.headings
    for index, heading in enumerate(headings):
        head = Text(heading.name, style="bold")
        if heading.unit:
            head.append(f"\n{heading.unit}", style="not bold dim")
        table.add_column(head, justify="right" if index else "left", vertical="top", no_wrap=True)
    numbers, tails = _widths(sheet, headings)
    for section in sheet.sections:
        for row in section:
            if layout.is_stacked:
                table.add_row(*map(_stacked, row))
            else:
                table.add_row(_in_line(row[0]), *map(_in_line, row[1:], numbers, tails))
        table.add_section()
    return table


def _broken(heading: Heading) -> Heading:
    """A heading whose long name stands in several lines."""
    name = heading.name.replace(" (", "\n(").replace("-", "-\n").replace(" ", "\n")
    return heading._replace(name=name)


def _in_line(cell: Cell, number: int = 0, tail: int = 0) -> Text:
    """A cell in the widths of its column's numbers and tails, so that numbers align."""
    text = _number(cell).append(cell.tail.ljust(tail), style="not bold dim")
    text.pad_left(max(0, number - cell_len(_marked(cell))))
    text.justify = "left"  # rich would strip the room of a tail that is not there
    return text


def _stacked(cell: Cell) -> Text:
    """A cell with its tail in a second line."""
    tail = f"\n{cell.tail.strip()}" if cell.tail else ""
    return _number(cell).append(tail, style="not bold dim")


def _number(cell: Cell) -> Text:
    style = " ".join(["bold"] * cell.is_best + ["yellow"] * cell.is_below)
    return Text.assemble((_marked(cell), style))


def _marked(cell: Cell) -> str:
    """A cell's number with its marks."""
    return BEST * cell.is_best + BELOW * cell.is_below + cell.text


def _widths(sheet: Sheet, headings: Sequence[Heading]) -> tuple[list[int], list[int]]:
    """For each column of numbers: the width of the numbers, and that of the tails."""
    numbers, tails = [], []
    rows = [row for section in sheet.sections for row in section]
    for index, heading in enumerate(headings[1:], start=1):
        tail = max(cell_len(row[index].tail) for row in rows)
        lines = [*heading.name.splitlines(), heading.unit]
        room = max(map(cell_len, lines)) - tail
        numbers.append(max(room, *(cell_len(_marked(row[index])) for row in rows)))
        tails.append(tail)
    return numbers, tails


def markdown_sheet(sheet: Sheet, level: int = 3) -> str:
    """Write title, table and notes in GitHub's Markdown, the source aligned as well."""
    heads = [f"{heading.name} {heading.unit}".strip() for heading in sheet.headings]
    columns = [[escape(head), *column] for head, *column in zip(heads, *_rows(sheet), strict=True)]
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * width if not i else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [_line(line, widths) for line in zip(*columns, strict=True)]
    lines.insert(1, _line(rule, widths))
    notes = [f"- {escape(note)}" for note in sheet.notes]
    return "\n".join([f"{'#' * level} {escape(sheet.title)}", "", *lines, "", *notes, ""])


def escape(text: str) -> str:
    """Escape text that Markdown would read as something else."""
    for sign in "\\|*_<`[~&$":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.splitlines())


def _rows(sheet: Sheet) -> list[list[str]]:
    """The cells as Markdown; no line can part sections there, so later ones have italic names."""
    first, *others = sheet.sections
    rows = [[_cell(cell) for cell in row] for row in first]
    for name, *cells in (row for section in others for row in section):
        rows.append([f"*{_cell(name)}*", *map(_cell, cells)])
    return rows


def _cell(cell: Cell) -> str:
    number = escape((BELOW if cell.is_below else "") + cell.text)
    return (f"**{number}**" if cell.is_best else number) + escape(cell.tail)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"
