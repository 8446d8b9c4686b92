"""`vlbench report`: the leaderboard of a results folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.output import note, stdout_console
from vlbench.files import write_atomically


class Format(StrEnum):
    """How the report is written."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"


def report(
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.TABLE,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.", dir_okay=False)] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="smoke: show runs with --limit too, in their own table."),
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    tasks: Annotated[
        list[str] | None, typer.Option(help="Only this suite (or task, or comma list of tasks).")
    ] = None,
    backbone: Annotated[str, typer.Option(help="Only this backbone.", show_default=False)] = "",
    edition: Annotated[str, typer.Option(help="Only this edition.", show_default=False)] = "",
    method: Annotated[
        list[str] | None, typer.Option(help="Only these methods, comma list or repeated.")
    ] = None,
    families: Annotated[
        bool, typer.Option("--families", help="Show each question family too, with its majority.")
    ] = False,
    costs: Annotated[
        bool, typer.Option("--costs", help="Show time, memory, storage and throughput too.")
    ] = False,
) -> None:
    """Show results: mean and deviation over seeds per method, and the cost in trainable weights."""
    from vlbench.backbones import BACKBONES
    from vlbench.leaderboard import report as reports
    from vlbench.leaderboard.results import read_results
    from vlbench.leaderboard.selection import select, suite_tasks
    from vlbench.leaderboard.summary import summarise

    found = select(
        read_results(results),
        results,
        methods=method or (),
        tasks=tasks or (),
        backbone=backbone,
        backbones=BACKBONES,
        edition=edition,
        include=include or (),
    )
    boards = summarise(found, suite_tasks())
    if format is Format.JSON:
        text = reports.as_json(boards, families, costs)
    elif format is Format.MARKDOWN:
        text = reports.as_markdown(reports.sheets(boards, families, costs))
    elif out is None and (console := stdout_console()).is_terminal:
        reports.print_tables(reports.sheets(boards, families, costs), console)
        return
    else:
        text = reports.as_text(reports.sheets(boards, families, costs))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, text)
        note(f"Written: {out}")
