"""The command line, and what its commands print with: answers to stdout, the rest to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from vlbench.errors import DataError, VlbenchError
from vlbench.text import printable, printable_json, printable_lines

SHORT = 20
"""Columns of a terminal's table that are no wider are not wrapped before the others."""
LINE_SECONDS = 10.0
"""Off a terminal, progress has a line at most this often."""
VERSIONS = {"list": 2, "show": 2}
"""Of a document's fields, where they are not the first."""
Count = Callable[[int, int], None]
"""Called with (done, all)."""


def example(words: str) -> str:
    """The last line of a command's help."""
    return f"Example: vlbench {words}"


def subcommands(help: str) -> typer.Typer:
    """A group of subcommands with plain help."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def note(text: str) -> None:
    """Print to stderr."""
    typer.echo(printable_lines(text), err=True)


def say(text: str) -> None:
    """Print lines of the answer."""
    typer.echo(printable_lines(text))


def end_left_out(faults: Sequence[VlbenchError], is_failure: bool = True) -> None:
    """After the answer: name what cannot be read and is not part of it, and end with 3.

    Where the command ends in another failure, it is only named.
    """
    text = "\n".join(f"Left out: {fault}" for fault in faults)
    if faults and is_failure:
        raise DataError(text)
    if faults:
        note(text)


def print_json(what: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Print `{"schema": "vlbench.<what>/<version>", "items": [...]}`."""
    print_document({"schema": f"vlbench.{what}/{VERSIONS.get(what, 1)}", "items": list(items)})


def print_document(document: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    typer.echo(printable_json(document))


def answer(
    what: str, items: Sequence[Mapping[str, Any]], columns: Sequence[str], is_json: bool
) -> None:
    """Print items as JSON, or a table of these columns of them."""
    if is_json:
        print_json(what, items)
    else:
        print_table([[cell(item[column]) for column in columns] for item in items], columns)


def cell(value: object) -> str:
    """A value as tables show it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def print_table(
    rows: Sequence[Sequence[str]], columns: Sequence[str], numbers: Collection[str] = ()
) -> None:
    """Print rows under their headings; off a terminal nothing is wrapped, cut or coloured.

    The columns named in `numbers` are aligned to the right, and cut on no terminal.
    """
    lines = [list(columns), *(list(map(printable, row)) for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for column, width in zip(columns, widths, strict=True):
            is_number = column in numbers
            table.add_column(
                column,
                justify="right" if is_number else "left",
                no_wrap=width <= SHORT,
                overflow="fold",
                min_width=width if is_number else None,
            )
        for line in lines[1:]:
            table.add_row(*map(Text, line))
        Console(highlight=False).print(table, crop=False)
        return
    signs = [">" if column in numbers else "<" for column in columns]
    for line in lines:
        parts = zip(line, signs, widths, strict=True)
        typer.echo("  ".join(f"{text:{sign}{width}}" for text, sign, width in parts).rstrip())


@contextmanager
def counting(unit: str) -> Iterator[Count]:
    """Show progress as long as the block runs: a bar on a terminal, a line now and then off it."""
    if not sys.stderr.isatty():
        last = -LINE_SECONDS

        def count(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_SECONDS or done == total:
                last = time.monotonic()
                note(f"{done:,} of {total:,} {unit}")

        yield count
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr, highlight=False)) as bars:
        bar = bars.add_task(unit, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
