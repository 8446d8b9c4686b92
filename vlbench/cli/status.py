"""`vlbench status` and `vlbench logs`: what runs do now, and what they printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.options import MOST, Json, Results
from vlbench.cli.output import (
    end_left_out,
    note,
    print_json,
    print_table,
    rich_table,
    say,
    stdout_console,
)
from vlbench.errors import NothingToReport, UsageError
from vlbench.text import printable

if TYPE_CHECKING:
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.watch import Overview, Tail

REFRESH_SECONDS = 1.0
FOLLOW_SECONDS = 0.5
AT_WORK = ("running", "queued")
ALWAYS = ("key", "method", "seed", "status")
CONTEXT = ("settings", "init", "suite", "backbone", "edition", "scope")
"""Columns that show where the runs differ in them."""
COLUMNS = (
    *("key", "method", "settings", "init", "suite", "backbone", "edition", "scope", "seed"),
    *("status", "phase", "step", "loss", "ex/s", "eta", "where", "error"),
)
LESS = ("ex/s", *CONTEXT[::-1], "loss", "phase", "where", "eta")
"""What goes first where a terminal is narrow."""
GAP = 2
"""Between two columns, in characters."""
SHORT_KEY = 8

Item = Mapping[str, Any]


def status(
    results: Results = Path("results"),
    everything: Annotated[bool, typer.Option("--all", help="List done runs too.")] = False,
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--no-watch", help="Go on until nothing runs; so on a terminal."),
    ] = None,
    json: Json = False,
) -> None:
    """Show how far runs are, where they run, what ended them."""
    from vlbench.runs.watch import Overview

    overview = Overview(results)
    items = overview.items()
    faults = overview.faults
    if json:
        print_json("status", items)
        end_left_out(faults)
        return
    is_terminal = sys.stdout.isatty()
    if watch and not is_terminal:
        raise UsageError("--watch is for a terminal; off it status prints what there is now.")
    if watch is not False and is_terminal and _are_at_work(items):
        _watch(overview, items, everything)
        end_left_out(faults)
        return
    columns, rows = table(items, everything)
    below: list[str] = []
    if is_terminal:
        columns, rows, below = fitting(columns, rows, stdout_console().width)
    if rows:
        print_table(rows, columns)
    say("\n".join([*below, summary(items, everything)]))
    end_left_out(faults)


def table(items: Sequence[Item], everything: bool) -> tuple[list[str], list[list[str]]]:
    """The runs' columns and rows; columns without information are left out."""
    rows = [_texts(item) for item in items if everything or item["status"] != "done"]
    columns = [name for name in COLUMNS if name in ALWAYS or _is_informative(name, rows)]
    return columns, [[row.get(name, "") for name in columns] for row in rows]


def fitting(
    columns: list[str], rows: list[list[str]], width: int
) -> tuple[list[str], list[list[str]], list[str]]:
    """The table as far as a terminal has room for it; errors stand below it where it has none."""
    below: list[str] = []
    if "error" in columns and _width(columns, rows) > width:
        below = [f"{row[0]}: {row[-1]}" for row in rows if row[-1]]
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    for name in LESS:
        if name in columns and _width(columns, rows) > width:
            at = columns.index(name)
            columns, *rows = ([*cells[:at], *cells[at + 1 :]] for cells in (columns, *rows))
    return columns, rows, below


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, cells)) + GAP for cells in zip(columns, *rows, strict=True)) - GAP


def summary(items: Sequence[Item], everything: bool = True) -> str:
    """How many runs are in which state."""
    from vlbench.runs.state import counted

    text = counted([item["status"] for item in items])
    is_hidden = not everything and any(item["status"] == "done" for item in items)
    return f"{text} (--all lists those done)." if is_hidden else f"{text}."


def _watch(overview: Overview, items: Sequence[Item], everything: bool) -> None:
    """The table, again every second, until nothing is at work or Ctrl-C."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    console = stdout_console()

    def shown(items: Sequence[Item]) -> Group:
        columns, rows, below = fitting(*table(items, everything), console.width)
        lines = [*below, summary(items, everything)]
        return Group(rich_table(rows, columns), *(Text(printable(line)) for line in lines))

    with Live(shown(items), console=console, auto_refresh=False) as live:
        try:
            while _are_at_work(items):
                time.sleep(REFRESH_SECONDS)
                items = overview.items()
                live.update(shown(items), refresh=True)
        except KeyboardInterrupt:
            return


def _are_at_work(items: Sequence[Item]) -> bool:
    return any(item["status"] in AT_WORK for item in items)


def _is_informative(name: str, rows: Sequence[Mapping[str, str]]) -> bool:
    values = {row.get(name, "") for row in rows}
    return len(values) > 1 if name in CONTEXT else values != {""} and bool(values)


def _texts(item: Item) -> dict[str, str]:
    """What the columns say of a run."""
    from vlbench.runs.state import short_error
    from vlbench.runs.watch import progress_texts

    progress = progress_texts(item) if item["status"] == "running" else {}
    return {
        **{name: str(item[name]) for name in (*CONTEXT, *ALWAYS)},
        "settings": ", ".join(item["settings"]),
        "key": item["key"][:SHORT_KEY],
        "phase": progress.get("phase", ""),
        "step": progress.get("step", ""),
        "loss": progress.get("loss", ""),
        "ex/s": progress.get("rate", ""),
        "eta": progress.get("left", ""),
        "where": item["where"] or (f"job {item['job']}" if item["status"] == "queued" else ""),
        "error": short_error(item),
    }


def logs(
    run: Annotated[
        str, typer.Argument(help="The begin of its key, or words such as 'compacter seed 0'.")
    ],
    follow: Annotated[bool, typer.Option("--follow", help="Go on while the run does.")] = False,
    lines: Annotated[
        int | None,
        typer.Option(min=0, max=MOST, help="The last so many lines; all without."),
    ] = None,
    results: Results = Path("results"),
) -> None:
    """Print the log of a run, of all its attempts."""
    from vlbench.runs.folder import find_run
    from vlbench.runs.watch import Tail

    folder = find_run(results, run)
    state = folder.state
    is_followed = follow and state in AT_WORK
    if not folder.log.is_file() and not is_followed:
        raise NothingToReport(f"{folder.path}: no log yet, the run is {state}.")
    tail = Tail(folder.log, is_whole=True)
    printed = tail.lines() if is_followed else tail.rest()
    for line in printed if lines is None else printed[max(len(printed) - lines, 0) :]:
        say(line)
    if is_followed:
        _follow(folder, tail)


def _follow(folder: RunFolder, tail: Tail) -> None:
    """Print new lines until the run ends or Ctrl-C."""
    try:
        while folder.state in AT_WORK:
            time.sleep(FOLLOW_SECONDS)
            for line in tail.lines():
                say(line)
    except KeyboardInterrupt:
        return
    for line in tail.rest():
        say(line)
    note(f"The run is {folder.state}.")
