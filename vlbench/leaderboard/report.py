"""The report in each of its formats, from boards."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Sequence

from rich.console import Console

from vlbench.leaderboard.csv_table import as_csv
from vlbench.leaderboard.families import family_sheets
from vlbench.leaderboard.items import as_json
from vlbench.leaderboard.latex import latex_document
from vlbench.leaderboard.markdown import markdown_sheet
from vlbench.leaderboard.paper import paper_rows
from vlbench.leaderboard.paper_rows import PaperPart, published_with
from vlbench.leaderboard.paper_sheets import with_published
from vlbench.leaderboard.sheets import Sheet, cost_sheet, main_sheet
from vlbench.leaderboard.summary import Board
from vlbench.leaderboard.tables import UNWRAPPED, print_sheet

__all__ = [
    "as_csv",
    "as_json",
    "as_latex",
    "as_markdown",
    "as_text",
    "paper_parts",
    "print_tables",
    "sheets",
]


def sheets(
    boards: Sequence[Board],
    families: bool = False,
    costs: bool = False,
    papers: Sequence[PaperPart] = (),
) -> list[Sheet]:
    """The tables to show: a leaderboard per board, and what was asked for after each."""
    found: list[Sheet] = []
    parts: list[PaperPart | None] = [*papers] or [None] * len(boards)
    for board, part in zip(boards, parts, strict=True):
        sheet = main_sheet(board)
        shown = with_published(sheet, board, part) if part else [sheet]
        shown += [cost_sheet(board)] if costs else []
        shown += family_sheets(board) if families else []
        found += [each for each in shown if each not in found]  # published rows of two boards
    return found


def paper_parts(
    boards: Sequence[Board],
    methods: Collection[str] | None = None,
    max_trainable: float | None = None,
) -> list[PaperPart]:
    """The published rows to show with each board."""
    rows = paper_rows()
    if max_trainable is not None:
        rows = [row for row in rows if (row.trainable_percent or math.inf) <= max_trainable]
    return [published_with(board, rows, methods) for board in boards]


def print_tables(sheets: Sequence[Sheet], console: Console) -> None:
    """Print the tables with a blank line between them."""
    for index, sheet in enumerate(sheets):
        if index:
            console.print()
        print_sheet(sheet, console)


def as_text(sheets: Sequence[Sheet]) -> str:
    """The tables as plain text, neither wrapped nor cut."""
    page = io.StringIO()
    print_tables(sheets, Console(file=page, width=UNWRAPPED, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def as_markdown(sheets: Sequence[Sheet]) -> str:
    """The tables as Markdown."""
    return "\n".join(markdown_sheet(sheet) for sheet in sheets)


def as_latex(sheets: Sequence[Sheet]) -> str:
    """The tables as a LaTeX document that compiles as it is."""
    return latex_document(sheets)
