"""`vlbench compare`: two rows held against each other with a test, and the gate of CI."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.filters import Backbones, Editions, Seeds, Tasks
from vlbench.cli.output import note, stdout_console
from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.files import check_out, write_out
from vlbench.text import results_option

if TYPE_CHECKING:
    from vlbench.leaderboard.compared import Pair
    from vlbench.leaderboard.gate import Gate


class Format(StrEnum):
    """How the comparison is written."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    GITHUB = "github"
    JUNIT = "junit"


def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="A row: a method, with what tells it from others of its name behind a colon "
            "(compacter:params.reduction=4), or the key of one of its runs.",
        ),
    ],
    b: Annotated[
        str | None,
        typer.Argument(help="The row to hold it against; else A's of --baseline."),
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    baseline: Annotated[
        Path | None, typer.Option(help="The results folder of B, where it is another one.")
    ] = None,
    tasks: Tasks = None,
    backbone: Backbones = None,
    edition: Editions = None,
    seeds: Seeds = None,
    include: Annotated[
        list[str] | None, typer.Option(help="smoke: compare runs with --limit too.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="The gate: end with 1 where A is significantly worse by more than this many "
            "points, on a task or on average, or has lost a task or seed that B has."
        ),
    ] = None,
    format: Annotated[
        Format, typer.Option(envvar="VLBENCH_COMPARE_FORMAT", help="How to write it.")
    ] = Format.TABLE,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
) -> None:
    """Hold two rows against each other: difference, interval, p and verdict per task."""
    if b is None and baseline is None:
        raise UsageError(_second(a, results))
    _check(max_drop, format, out)
    from vlbench.backbones import BACKBONES
    from vlbench.cli.selectors import numbers
    from vlbench.leaderboard import gate as gates
    from vlbench.leaderboard.boards import Filters
    from vlbench.leaderboard.results import left_out
    from vlbench.leaderboard.sides import both_sides

    places = (tasks or (), backbone or (), edition or (), include or ())
    filters = Filters(*places, BACKBONES, seeds=numbers(seeds) if seeds else ())
    nothing: NothingToReport | None = None
    pairs: list[Pair] = []
    damaged: list[DataError] = []
    try:
        pairs = both_sides(a, b, results, baseline, filters, damaged)
    except NothingToReport as error:  # a server that reads the answer is told so too
        nothing = error
    found = None if max_drop is None else gates.gate(pairs, max_drop)
    _write(pairs, found, str(nothing or ""), format, out)
    if damaged:
        if not (found and found.faults):
            raise left_out(damaged)
        note(str(left_out(damaged)))
    if nothing:
        raise nothing
    gates.refuse(pairs, found)


def _second(a: str, results: Path) -> str:
    """What is to be typed where one row is named and nothing to hold it against."""
    option, other = results_option(results), "frozen" if a == "full" else "full"
    return (
        f"{a}: compare with what? Name a second row, or another folder that has this one:\n"
        f"  vlbench compare {quote(a)} {other}{option}\n"
        f"  vlbench compare {quote(a)} --baseline DIR{option}"
    )


def _check(max_drop: float | None, format: Format, out: Path | None) -> None:
    """Before anything is read: whether the words fit together."""
    if max_drop is not None:
        from vlbench.leaderboard.gate import check_max_drop

        check_max_drop(max_drop)
    if format is Format.GITHUB and out is not None:
        raise UsageError("--format github speaks to the runner on stdout: leave --out away.")
    if out is not None:
        check_out(out)


def _write(
    pairs: list[Pair], gate: Gate | None, reason: str, format: Format, out: Path | None
) -> None:
    """Print the comparison, or write it to a file; the reason is why there is none."""
    from vlbench.leaderboard.compare_items import compare_json
    from vlbench.leaderboard.compare_text import compare_markdown, compare_text, tables
    from vlbench.leaderboard.github import SUMMARY, append_summary, workflow_commands
    from vlbench.leaderboard.junit import as_junit
    from vlbench.leaderboard.report import print_tables

    console = stdout_console()
    if format is Format.TABLE and out is None and (reason or console.is_terminal):
        print_tables(tables(pairs, gate), console)  # the reason is told on stderr
        return
    writers = {
        Format.JSON: compare_json,
        Format.JUNIT: as_junit,
        Format.GITHUB: workflow_commands,
        Format.MARKDOWN: compare_markdown,
        Format.TABLE: compare_text,
    }
    text = writers[format](pairs, gate, reason)
    if format is Format.GITHUB and (summary := os.environ.get(SUMMARY)):
        append_summary(Path(summary), pairs, gate, reason)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_out(out, text)
        note(f"Written: {out}")
