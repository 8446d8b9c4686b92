"""What commands print: the answer on stdout as a table or JSON, everything else on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

from vlbench.errors import DataError, VlbenchError
from vlbench.text import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

UNWRAPPED = 100_000
"""Width of what is not a terminal, in characters: a line there is never broken."""
LINE_SECONDS = 10.0
"""Off a terminal a line at most this often."""
Count = Callable[[int, int], None]
"""Called with (done, all)."""


def stdout_console() -> Console:
    """Where answers go."""
    return _console(sys.stdout)


def stderr_console() -> Console:
    """Where progress, notes and errors go."""
    return _console(sys.stderr)


def note(text: str) -> None:
    """Print something that is not the answer."""
    typer.echo(printable_lines(text), err=True)


def example(words: str) -> str:
    """The last line of a command's help."""
    return f"Example: vlbench {words}"


def subcommands(help: str) -> typer.Typer:
    """A group of subcommands with plain help."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def end_left_out(faults: Sequence[VlbenchError]) -> None:
    """After the answer: end with 3 where something cannot be read and is not part of it."""
    if faults:
        raise DataError("\n".join(f"Left out: {fault}" for fault in faults))


def say(text: str) -> None:
    """Print lines of the answer."""
    typer.echo(printable_lines(text))


def print_json(what: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Print `{"schema": "vlbench.<what>/1", "items": [...]}`."""
    print_document({"schema": f"vlbench.{what}/1", "items": list(items)})


def print_document(document: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    typer.echo(printable_json(document))


def print_table(
    rows: Sequence[Sequence[str]], columns: Sequence[str], numbers: Collection[str] = ()
) -> None:
    """Print rows under their headings; off a terminal nothing is wrapped, cut or coloured.

    The columns named in `numbers` are aligned to the right. A table that has some is as wide as it
    must be, on a narrow terminal too: no number is cut.
    """
    console = stdout_console()
    rows = [list(map(printable, row)) for row in rows]
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            cells = (
                cell.rjust(width) if column in numbers else cell.ljust(width)
                for cell, width, column in zip(row, widths, columns, strict=True)
            )
            typer.echo("  ".join(cells).rstrip())
        return
    from rich.measure import measure_renderables

    table = rich_table(rows, columns, numbers)
    if numbers:
        free = console.options.update(width=UNWRAPPED)
        width = measure_renderables(console, free, [table]).maximum
        console.width = max(console.width, width)
    console.print(table)


def rich_table(
    rows: Sequence[Sequence[str]], columns: Sequence[str], numbers: Collection[str] = ()
) -> Table:
    """The rows under their headings as Rich shows them on a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else UNWRAPPED, highlight=False)


@contextmanager
def counting(unit: str) -> Iterator[Count]:
    """Show progress as long as the block runs."""
    if not sys.stderr.isatty():
        yield _lines(unit)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr_console()) as bars:
        bar = bars.add_task(unit, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _lines(unit: str) -> Count:
    """The first count, the last one, and some between."""
    started = last = time.monotonic()
    begun_at: int | None = None

    def tell(done: int, total: int) -> None:
        nonlocal last, begun_at
        now = time.monotonic()
        if begun_at is None:
            begun_at = done
        elif now - last < LINE_SECONDS and done != total:
            return
        last = now
        rate = (done - begun_at) / max(now - started, 1e-9)
        left = f", {rate:.1f} a second, {(total - done) / rate:.0f} s left" if rate else ""
        note(f"{done:,} of {total:,} {unit}{left}")

    return tell
