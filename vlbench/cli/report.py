"""`vlbench report`: the leaderboard of a results folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.output import note, stdout_console
from vlbench.errors import DataError, UsageError
from vlbench.files import check_out, write_out

if TYPE_CHECKING:
    from vlbench.leaderboard.paper_rows import PaperPart
    from vlbench.leaderboard.summary import Board


class Format(StrEnum):
    """How the report is written."""

    TABLE = "table"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


def report(
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.TABLE,
    out: Annotated[
        Path | None, typer.Option(help="Write it to this file; html: the pages to this folder.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="smoke: show runs with --limit too, in their own table."),
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    tasks: Annotated[
        list[str] | None, typer.Option(help="Only this suite (or task, or comma list of tasks).")
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(help="Only these backbones, comma list or repeated.")
    ] = None,
    edition: Annotated[
        list[str] | None, typer.Option(help="Only these editions, comma list or repeated.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only these methods, comma list or repeated.")
    ] = None,
    max_trainable: Annotated[
        float | None,
        typer.Option(help="Only rows that train at most this percentage of the parameters: 5."),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            help="Order rows by this column, best or cheapest first: method, trainable, average, "
            "a task, a metric or a cost."
        ),
    ] = "",
    families: Annotated[
        bool, typer.Option("--families", help="Show each question family too, with its majority.")
    ] = False,
    costs: Annotated[
        bool, typer.Option("--costs", help="Show time, memory, storage and throughput too.")
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="Show what papers published too, with their source.")
    ] = False,
    no_media: Annotated[
        bool,
        typer.Option(
            "--no-media", help="html: no pictures; the mini edition is not made for them."
        ),
    ] = False,
) -> None:
    """Show results: mean and deviation over seeds per method, and the cost in trainable weights."""
    _check_out(format, out)
    if no_media and format is not Format.HTML:
        raise UsageError("--no-media is an option of --format html; leave it away.")
    if max_trainable is not None and not 0 <= max_trainable <= 100:
        raise UsageError(f"--max-trainable {max_trainable:g}: should be a percentage, 0 to 100.")
    from vlbench.backbones import BACKBONES
    from vlbench.leaderboard.boards import Filters, read_boards
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.report import paper_parts
    from vlbench.leaderboard.results import left_out

    filters = Filters(
        *(tasks or (), backbone or (), edition or (), include or (), BACKBONES, method or ()),
        max_trainable=max_trainable,
        sort=sort,
    )
    damaged: list[DataError] = []
    boards = read_boards(results, filters, Examples(results, damaged), damaged)
    if format is Format.HTML and out is not None:
        from vlbench.leaderboard.site import write_site

        note(f"Written: {write_site(boards, results, out, say=note, has_media=not no_media)}")
    else:
        shown = {row.method for board in boards for row in board.rows} if method else None
        papers = paper_parts(boards, shown, max_trainable) if paper else []
        _write(boards, format, out, families, costs, papers)
    if damaged:
        raise left_out(damaged)


def _check_out(format: Format, out: Path | None) -> None:
    """Before anything is read: whether what is written has a place."""
    if format is Format.HTML and out is None:
        raise UsageError("--format html writes a folder of pages; name it: --out site")
    if out is None:
        return
    if format is not Format.HTML:
        check_out(out)
    elif out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: A file is there; --format html needs a folder.")


def _write(
    boards: list[Board],
    format: Format,
    out: Path | None,
    families: bool,
    costs: bool,
    papers: list[PaperPart],
) -> None:
    """Print the report, or write it to a file."""
    from vlbench.leaderboard import report as reports

    console = stdout_console()
    if format is Format.JSON:
        text = reports.as_json(boards, families, costs, papers)
    elif format is Format.CSV:
        text = reports.as_csv(boards, families, costs, papers)
    else:
        sheets = reports.sheets(boards, families, costs, papers)
        if format is Format.TABLE and out is None and console.is_terminal:
            reports.print_tables(sheets, console)
            return
        writers = {Format.MARKDOWN: reports.as_markdown, Format.LATEX: reports.as_latex}
        text = writers.get(format, reports.as_text)(sheets)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_out(out, text)
        note(f"Written: {out}")
