"""Tables as text: for people (rich) and for web pages (Markdown)."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from vlbench.leaderboard.sheets import BELOW, Cell, Sheet

UNWRAPPED = 10_000
"""Columns of a page that never wraps or cuts a line."""
LAYOUTS = ((3, False), (2, False), (2, True), (1, True))
"""Characters between columns, and whether deviations stand below means: the first that fits."""


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print title, table and notes; where no layout fits, the page grows: no number is cut."""
    tables = [_rich_table(sheet, gap, is_stacked) for gap, is_stacked in LAYOUTS]
    free = console.options.update(width=UNWRAPPED)
    widths = [Measurement.get(console, free, table).maximum for table in tables]
    fits = [width <= console.width for width in widths]
    best = fits.index(True) if any(fits) else -1
    console.print(Text(sheet.title, style="bold"), "", sep="\n")
    visible, console.width = console.width, max(console.width, widths[best])
    console.print(tables[best])
    console.width = visible
    console.print("", *(Text(note, style="dim") for note in sheet.notes), sep="\n")


def markdown_sheet(sheet: Sheet, level: int = 3) -> str:
    """Title, table and footnotes in GitHub's Markdown, the source aligned as well."""
    heads = [f"{heading.name} {heading.unit}".strip() for heading in sheet.headings]
    rows = _markdown_rows(sheet)
    columns = [[_escape(head), *column] for head, *column in zip(heads, *rows, strict=True)]
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * width if not i else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [_markdown_line(line, widths) for line in zip(*columns, strict=True)]
    lines.insert(1, _markdown_line(rule, widths))
    notes = [f"- {_escape(note)}" for note in sheet.notes]
    return "\n".join([f"{'#' * level} {_escape(sheet.title)}", "", *lines, "", *notes, ""])


def _rich_table(sheet: Sheet, gap: int, is_stacked: bool) -> Table:
    right = gap - 1  # the box itself puts one character between columns
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, right, 0, 0))
    for index, heading in enumerate(sheet.headings):
        name = Text(_broken(heading.name) if is_stacked else heading.name, style="bold")
        if heading.unit:
            name.append(f"\n{heading.unit}", style="not bold dim")
        table.add_column(name, justify="right" if index else "left", vertical="top", no_wrap=True)
    numbers, tails = _widths(sheet)
    for section in sheet.sections:
        for row in section:
            if is_stacked:
                table.add_row(*map(_stacked, row))
            else:
                table.add_row(_in_line(row[0]), *map(_in_line, row[1:], numbers, tails))
        table.add_section()
    return table


def _broken(name: str) -> str:
    """A long heading over several lines."""
    return name.replace(" (", "\n(").replace("-", "-\n")


def _in_line(cell: Cell, number: int = 0, tail: int = 0) -> Text:
    """A cell in the widths of its column's numbers and tails, so that numbers align."""
    text = _number(cell).append(cell.tail.ljust(tail), style="dim")
    text.pad_left(max(0, number - cell_len(_whole(cell._replace(tail="")))))
    text.justify = "left"  # rich would strip the room of a tail that is not there
    return text


def _stacked(cell: Cell) -> Text:
    """A cell with its tail in a second line."""
    return _number(cell).append(f"\n{cell.tail.strip()}" if cell.tail else "", style="dim")


def _number(cell: Cell) -> Text:
    return Text(_whole(cell._replace(tail="")), style="yellow" if cell.is_below else "")


def _whole(cell: Cell) -> str:
    """A cell in one line."""
    return (BELOW if cell.is_below else "") + cell.text + cell.tail


def _widths(sheet: Sheet) -> tuple[list[int], list[int]]:
    """For each column of numbers: the width of the numbers, and that of the tails."""
    numbers, tails = [], []
    rows = [row for section in sheet.sections for row in section]
    for index, heading in enumerate(sheet.headings[1:], start=1):
        tail = max(len(row[index].tail) for row in rows)
        room = max(map(cell_len, heading)) - tail
        numbers.append(max(room, *(cell_len(_whole(row[index]._replace(tail=""))) for row in rows)))
        tails.append(tail)
    return numbers, tails


def _markdown_rows(sheet: Sheet) -> list[list[str]]:
    """The cells as Markdown; no line can part sections there, so later ones have italic names."""
    first, *others = sheet.sections
    rows = [[_escape(_whole(cell)) for cell in row] for row in first]
    for name, *cells in (row for section in others for row in section):
        rows.append([f"*{_escape(_whole(name))}*", *(_escape(_whole(cell)) for cell in cells)])
    return rows


def _markdown_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def _escape(text: str) -> str:
    """Text that Markdown would read as something else."""
    for sign in "\\|*_<`[":
        text = text.replace(sign, f"\\{sign}")
    return text
