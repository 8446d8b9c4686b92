"""Tables in GitHub's Markdown, whose source can be read as well."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.leaderboard.marks import BELOW
from vlbench.leaderboard.sheets import Cell, Sheet


def markdown_sheet(sheet: Sheet, level: int = 3) -> str:
    """Title, table and footnotes, the source aligned as well."""
    heads = [f"{heading.name} {heading.unit}".strip() for heading in sheet.headings]
    columns = [[escape(head), *column] for head, *column in zip(heads, *_rows(sheet), strict=True)]
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * width if not i else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [_line(line, widths) for line in zip(*columns, strict=True)]
    lines.insert(1, _line(rule, widths))
    notes = [f"- {escape(note)}" for note in sheet.notes]
    return "\n".join([f"{'#' * level} {escape(sheet.title)}", "", *lines, "", *notes, ""])


def escape(text: str) -> str:
    """Text that Markdown would read as something else."""
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
