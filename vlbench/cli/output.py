"""What commands print: the answer on stdout as a table or JSON, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

UNWRAPPED = 100_000
"""Width of what is not a terminal, in characters: a line there is never broken."""


def stdout_console() -> Console:
    """Where answers go."""
    return _console(sys.stdout)


def stderr_console() -> Console:
    """Where progress, notes and errors go."""
    return _console(sys.stderr)


def note(text: str) -> None:
    """Tell the user something that is not the answer."""
    typer.echo(text, err=True)


def print_json(what: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Print `{"schema": "vlbench.<what>/1", "items": [...]}`."""
    print_document({"schema": f"vlbench.{what}/1", "items": list(items)})


def print_document(document: Mapping[str, Any]) -> None:
    """Print one JSON object; not-a-number has no place in JSON and is refused."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    """Print rows under their headings; off a terminal nothing is wrapped, cut or coloured."""
    console = stdout_console()
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            typer.echo("  ".join(cells).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else UNWRAPPED, highlight=False)
