"""Tables as text: for people (rich) and for web pages (Markdown)."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vlbench.leaderboard.sheets import BELOW, Cell, Sheet


def rich_sheet(sheet: Sheet) -> Group:
    """Title, table and footnotes for a rich console."""
    table = Table(box=box.SIMPLE_HEAD, header_style="", pad_edge=False, show_edge=False)
    for index, heading in enumerate(sheet.headings):
        name = Text(heading.name, style="bold")
        if heading.unit:
            name.append(f"\n{heading.unit}", style="not bold dim")
        table.add_column(name, justify="right" if index else "left", no_wrap=not index)
    tails = _tail_widths(sheet)
    for section in sheet.sections:
        for row in section:
            table.add_row(*map(_rich_cell, row, tails))
        table.add_section()
    notes = [Text(note, style="dim") for note in sheet.notes]
    return Group(Text(sheet.title, style="bold"), Padding(table, (1, 0)), *notes)


def markdown_sheet(sheet: Sheet, level: int = 3) -> str:
    """Title, table and footnotes in GitHub's Markdown, the source aligned as well."""
    heads = [f"{heading.name} {heading.unit}".strip() for heading in sheet.headings]
    rows = [_markdown_row(row) for section in sheet.sections for row in section]
    columns = [[_escape(head), *column] for head, *column in zip(heads, *rows, strict=True)]
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * width if not i else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [_markdown_line(line, widths) for line in zip(*columns, strict=True)]
    lines.insert(1, _markdown_line(rule, widths))
    notes = [f"- {_escape(note)}" for note in sheet.notes]
    return "\n".join([f"{'#' * level} {_escape(sheet.title)}", "", *lines, "", *notes, ""])


def _tail_widths(sheet: Sheet) -> list[int]:
    rows = [row for section in sheet.sections for row in section]
    return [max((len(row[i].tail) for row in rows), default=0) for i in range(len(sheet.headings))]


def _rich_cell(cell: Cell, tail: int) -> Text:
    text = Text(f"{BELOW} " if cell.is_below else "", style="yellow" if cell.is_below else "")
    return text.append(cell.text).append(cell.tail.ljust(tail), style="dim")


def _markdown_row(row: Sequence[Cell]) -> list[str]:
    texts = [f"{BELOW} " * cell.is_below + cell.text + cell.tail for cell in row]
    return [_escape(text) for text in texts]


def _markdown_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def _escape(text: str) -> str:
    """Text that Markdown would read as something else."""
    for sign in "\\|*_<`[":
        text = text.replace(sign, f"\\{sign}")
    return text
