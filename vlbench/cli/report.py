"""`vlbench report`, `compare` and `plot`: what a results folder shows."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.options import BoardOptions, Methods, Seeds, numbers, with_options
from vlbench.cli.output import end_left_out, example, note, stdout_console, subcommands
from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.files import check_out, write_out
from vlbench.text import results_option

if TYPE_CHECKING:
    from vlbench.leaderboard.board import Board
    from vlbench.leaderboard.compare import Gate, Pair
    from vlbench.leaderboard.paper import PaperPart


class ReportFormat(StrEnum):
    """How a report is written."""

    TABLE = "table"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


class CompareFormat(StrEnum):
    """How a comparison is written."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    GITHUB = "github"
    JUNIT = "junit"


class Quantity(StrEnum):
    """What a training curve shows."""

    LOSS = "loss"
    VALIDATION = "validation"


@with_options
def report(
    options: BoardOptions,
    format: Annotated[ReportFormat, typer.Option(help="How to write it.")] = ReportFormat.TABLE,
    out: Annotated[
        Path | None, typer.Option(help="Write it to this file; html: the pages to this folder.")
    ] = None,
    method: Methods = None,
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
    """Show the leaderboard of a results folder.

    Mean and deviation over seeds per method, and the cost in trainable weights.
    """
    _check_report_out(format, out)
    if no_media and format is not ReportFormat.HTML:
        raise UsageError("--no-media is an option of --format html; leave it away.")
    if max_trainable is not None and not 0 <= max_trainable <= 100:
        raise UsageError(f"--max-trainable {max_trainable:g}: should be a percentage, 0 to 100.")
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.load import read_boards
    from vlbench.leaderboard.paper import paper_parts

    filters = options.filters(method, max_trainable=max_trainable, sort=sort)
    damaged: list[DataError] = []
    examples = Examples(options.results, damaged)
    boards = read_boards(options.results, filters, examples, damaged)
    if format is ReportFormat.HTML and out is not None:
        from vlbench.leaderboard.site import write_site

        index = write_site(boards, examples, out, say=note, has_media=not no_media)
        note(f"Written: {index}")
    else:
        methods = {row.method for board in boards for row in board.rows} if method else None
        papers = paper_parts(boards, methods, max_trainable) if paper else []
        _write_report(boards, format, out, families, costs, papers)
    end_left_out(damaged)


def _check_report_out(format: ReportFormat, out: Path | None) -> None:
    """Refuse, before anything is read, a place that cannot be written."""
    if format is ReportFormat.HTML and out is None:
        raise UsageError("--format html writes a folder of pages; name it: --out site")
    if out is None:
        return
    if format is not ReportFormat.HTML:
        check_out(out)
    elif out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: A file is there; --format html needs a folder.")


def _write_report(
    boards: list[Board],
    format: ReportFormat,
    out: Path | None,
    families: bool,
    costs: bool,
    papers: list[PaperPart],
) -> None:
    """Print the report, or write it to a file."""
    from vlbench.leaderboard import formats as reports
    from vlbench.leaderboard.tables import report_tables

    console = stdout_console()
    if format is ReportFormat.JSON:
        text = reports.as_json(boards, families, costs, papers)
    elif format is ReportFormat.CSV:
        text = reports.as_csv(boards, families, costs, papers)
    else:
        tables = report_tables(boards, families, costs, papers)
        if format is ReportFormat.TABLE and out is None and console.is_terminal:
            reports.print_tables(tables, console)
            return
        writers = {
            ReportFormat.MARKDOWN: reports.as_markdown,
            ReportFormat.LATEX: reports.as_latex,
        }
        text = writers.get(format, reports.as_text)(tables)
    _print_or_write(text, out)


@with_options
def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="A row: a method, with what tells it from others of its name behind a colon "
            "(compacter:params.reduction=4), or the key of one of its runs.",
        ),
    ],
    options: BoardOptions,
    b: Annotated[
        str | None,
        typer.Argument(help="The row to hold it against; else A's of --baseline."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="The results folder of B, where it is another one.")
    ] = None,
    seeds: Seeds = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="The gate: end with 1 where A is significantly worse by more than this many "
            "points, on a task or on average, or has lost a task or seed that B has."
        ),
    ] = None,
    format: Annotated[
        CompareFormat, typer.Option(envvar="VLBENCH_COMPARE_FORMAT", help="How to write it.")
    ] = CompareFormat.TABLE,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
) -> None:
    """Compare two rows task by task, with a test.

    Difference, interval, p and verdict per task; with --max-drop the gate of CI.
    """
    if b is None and baseline is None:
        raise UsageError(_second_row(a, options.results))
    if max_drop is not None:
        from vlbench.leaderboard.compare import check_max_drop

        check_max_drop(max_drop)
    if format is CompareFormat.GITHUB and out is not None:
        raise UsageError("--format github speaks to the runner on stdout: leave --out away.")
    if out is not None:
        check_out(out)
    from vlbench.leaderboard import compare as gates
    from vlbench.leaderboard.compare import both_sides

    filters = options.filters(seeds=numbers(seeds) if seeds else ())
    nothing: NothingToReport | None = None
    pairs: list[Pair] = []
    damaged: list[DataError] = []
    try:
        pairs = both_sides(a, b, options.results, baseline, filters, damaged)
    except NothingToReport as error:  # a server that reads the answer is told so too
        nothing = error
    gate = None if max_drop is None else gates.gate(pairs, max_drop)
    _write_comparison(pairs, gate, str(nothing or ""), format, out)
    if gate and gate.faults:
        for fault in damaged:
            note(f"Left out: {fault}")
    else:
        end_left_out(damaged)
    if nothing:
        raise nothing
    gates.refuse(pairs, gate)


def _second_row(a: str, results: Path) -> str:
    """What to type where one row is named and nothing to hold it against."""
    option, other = results_option(results), "frozen" if a == "full" else "full"
    return (
        f"{a}: compare with what? Name a second row, or another folder that has this one:\n"
        f"  vlbench compare {quote(a)} {other}{option}\n"
        f"  vlbench compare {quote(a)} --baseline DIR{option}"
    )


def _write_comparison(
    pairs: list[Pair], gate: Gate | None, reason: str, format: CompareFormat, out: Path | None
) -> None:
    """Print the comparison, or write it to a file; the reason is why there is none."""
    from vlbench.leaderboard.compare_formats import (
        SUMMARY,
        append_summary,
        as_junit,
        compare_json,
        compare_markdown,
        compare_tables,
        compare_text,
        workflow_commands,
    )
    from vlbench.leaderboard.formats import print_tables

    console = stdout_console()
    if format is CompareFormat.TABLE and out is None and (reason or console.is_terminal):
        print_tables(compare_tables(pairs, gate), console)  # the reason goes to stderr
        return
    writers = {
        CompareFormat.JSON: compare_json,
        CompareFormat.JUNIT: as_junit,
        CompareFormat.GITHUB: workflow_commands,
        CompareFormat.MARKDOWN: compare_markdown,
        CompareFormat.TABLE: compare_text,
    }
    text = writers[format](pairs, gate, reason)
    if format is CompareFormat.GITHUB and (summary := os.environ.get(SUMMARY)):
        append_summary(Path(summary), pairs, gate, reason)
    _print_or_write(text, out)


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_out(out, text)
        note(f"Written: {out}")


plot = subcommands("Draw results: score against cost, training curves.")
Picture = Annotated[
    Path, typer.Option(help="The file to write; its suffix is the format: .png, .svg or .pdf.")
]
Width = Annotated[
    float,
    typer.Option(min=3, max=20, help="Inches: 7 for a page or a README, 3.4 for a paper's column."),
]


@plot.command(epilog=example("plot pareto --out pareto.svg --tasks image-text"))
@with_options
def pareto(
    out: Picture,
    options: BoardOptions,
    cost: Annotated[
        str,
        typer.Option(
            help="trainable_parameters, adapter_bytes, peak_memory_bytes, train_seconds, or all."
        ),
    ] = "trainable_parameters",
    metric: Annotated[
        str, typer.Option(help="The height: a metric such as vqav2.accuracy, or the average.")
    ] = "average",
    method: Methods = None,
    width: Width = 7,
) -> None:
    """Draw scores against costs, and the Pareto front."""
    from vlbench.leaderboard.pareto import find_costs, pareto, with_metric
    from vlbench.leaderboard.plots import save

    _check_picture(out)
    costs = find_costs(cost)
    damaged: list[DataError] = []
    boards = _boards(options, method, damaged, is_tied=True)
    save(pareto(with_metric(boards, metric), costs, metric, width), out)
    note(f"Written: {out}")
    end_left_out(damaged)


@plot.command(epilog=example("plot curves --out curves.svg --method lora,full"))
@with_options
def curves(
    out: Picture,
    options: BoardOptions,
    quantity: Annotated[
        Quantity, typer.Option(help="The training loss by step, or validation by epoch.")
    ] = Quantity.LOSS,
    method: Methods = None,
    width: Width = 7,
) -> None:
    """Draw how runs trained: a line per method.

    A band spans the seeds of a method.
    """
    _check_picture(out)
    damaged: list[DataError] = []
    boards = _boards(options, method, damaged)
    from vlbench.leaderboard.plots import curves, save

    save(curves(boards, options.results, quantity, width), out)
    note(f"Written: {out}")
    end_left_out(damaged)


def _check_picture(out: Path) -> None:
    """Refuse, before anything is read, a format or a place that cannot be written."""
    from vlbench.leaderboard.plots import picture_format

    picture_format(out)
    check_out(out)


def _boards(
    options: BoardOptions,
    methods: list[str] | None,
    damaged: list[DataError],
    is_tied: bool = False,
) -> list[Board]:
    """The boards of the runs that the filters leave; `damaged` is as in `read_results`."""
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.load import read_boards

    examples = Examples(options.results, damaged) if is_tied else None
    return read_boards(options.results, options.filters(methods), examples, damaged)
