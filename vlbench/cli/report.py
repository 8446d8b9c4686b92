"""`vlbench report`, `compare` and `plot`: what a results folder shows."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.files import check_out, write_out
from vlbench.text import results_option

if TYPE_CHECKING:
    from vlbench.leaderboard.board import Board
    from vlbench.leaderboard.compare import Gate, Pair
    from vlbench.leaderboard.paper import PaperPart

ReportFormat = StrEnum("ReportFormat", "TABLE MARKDOWN LATEX CSV JSON HTML")
CompareFormat = StrEnum("CompareFormat", "TABLE JSON MARKDOWN GITHUB JUNIT")
Quantity = StrEnum("Quantity", "LOSS VALIDATION")


@opt.with_options
def report(
    options: opt.BoardOptions,
    format: ReportFormat = opt.option(ReportFormat.TABLE, "How to write it."),
    out: Path | None = opt.option(None, "Write it to this file; html: the pages to this folder."),
    method: list[str] | None = opt.METHODS,
    max_trainable: float | None = opt.option(None, "Only rows that train at most so many %: 5."),
    sort: str = opt.option(
        "", "Order rows by method, trainable, average, a task, metric or cost; best first."
    ),
    families: bool = opt.flag("--families", "Show each question family too, with its majority."),
    costs: bool = opt.flag("--costs", "Show time, memory, storage and throughput too."),
    paper: bool = opt.flag("--paper", "Show what papers published too, with their source."),
    no_media: bool = opt.flag("--no-media", "html: no pictures, nor the mini edition for them."),
) -> None:
    """Show the leaderboard of a results folder.

    Mean and deviation over seeds per method, and the cost in trainable weights.
    """
    is_html = format is ReportFormat.HTML
    if is_html and out is None:
        raise UsageError("--format html writes a folder of pages; name it: --out site")
    if is_html and out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: A file is there; --format html needs a folder.")
    if out is not None and not is_html:
        check_out(out)
    if no_media and not is_html:
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
    if is_html and out is not None:
        from vlbench.leaderboard.site import write_site

        index = write_site(boards, examples, out, say=cli.note, has_media=not no_media)
        cli.note(f"Written: {index}")
    else:
        methods = {row.method for board in boards for row in board.rows} if method else None
        papers = paper_parts(boards, methods, max_trainable) if paper else []
        _write_report(boards, format, out, families, costs, papers)
    cli.end_left_out(damaged)


def _write_report(
    boards: list[Board],
    format: ReportFormat,
    out: Path | None,
    families: bool,
    costs: bool,
    papers: list[PaperPart],
) -> None:
    from vlbench.leaderboard import formats as reports
    from vlbench.leaderboard.tables import report_tables

    if format in (ReportFormat.JSON, ReportFormat.CSV):
        write = reports.as_json if format is ReportFormat.JSON else reports.as_csv
        _print_or_write(write(boards, families, costs, papers), out)
        return
    tables = report_tables(boards, families, costs, papers)
    console = cli.stdout_console()
    if format is ReportFormat.TABLE and out is None and console.is_terminal:
        reports.print_tables(tables, console)
        return
    writers = {ReportFormat.MARKDOWN: reports.as_markdown, ReportFormat.LATEX: reports.as_latex}
    _print_or_write(writers.get(format, reports.as_text)(tables), out)


@opt.with_options
def compare(
    options: opt.BoardOptions,
    a: str = opt.argument(
        ..., "A row: a method, compacter:params.reduction=4 (one of several), or a run's key."
    ),
    b: str | None = opt.argument(None, "The row to hold it against; else A's of --baseline."),
    baseline: Path | None = opt.option(None, "The results folder of B, where it is another one."),
    seeds: str | None = opt.SEEDS,
    max_drop: float | None = opt.option(
        None, "The gate: end with 1 where A is worse by more points, or has lost a task or seed."
    ),
    format: CompareFormat = opt.option(
        CompareFormat.TABLE, "How to write it.", envvar="VLBENCH_COMPARE_FORMAT"
    ),
    out: Path | None = opt.option(None, "Write it to this file."),
) -> None:
    """Compare two rows task by task, with a test.

    Difference, interval, p and verdict per task; with --max-drop the gate of CI.
    """
    if b is None and baseline is None:
        option, other = results_option(options.results), "frozen" if a == "full" else "full"
        raise UsageError(
            f"{a}: compare with what? Name a second row, or another folder that has this one:\n"
            f"  vlbench compare {quote(a)} {other}{option}\n"
            f"  vlbench compare {quote(a)} --baseline DIR{option}"
        )
    if max_drop is not None:
        from vlbench.leaderboard.compare import check_max_drop

        check_max_drop(max_drop)
    if format is CompareFormat.GITHUB and out is not None:
        raise UsageError("--format github speaks to the runner on stdout: leave --out away.")
    if out is not None:
        check_out(out)
    from vlbench.leaderboard import compare as gates
    from vlbench.leaderboard.compare import both_sides

    filters = options.filters(seeds=opt.seed_numbers(seeds) if seeds else ())
    nothing: NothingToReport | None = None
    pairs: list[Pair] = []
    damaged: list[DataError] = []
    try:
        pairs = both_sides(a, b, options.results, baseline, filters, damaged)
    except NothingToReport as error:  # a server that reads the answer gets the reason too
        nothing = error
    gate = None if max_drop is None else gates.gate(pairs, max_drop)
    _write_comparison(pairs, gate, str(nothing or ""), format, out)
    cli.end_left_out(damaged, is_failure=not (gate and gate.faults))
    if nothing:
        raise nothing
    gates.refuse(pairs, gate)


def _write_comparison(
    pairs: list[Pair], gate: Gate | None, reason: str, format: CompareFormat, out: Path | None
) -> None:
    """Print the comparison, or write it to a file; the reason is why there is none."""
    from vlbench.leaderboard import compare_formats as formats
    from vlbench.leaderboard.formats import print_tables

    console = cli.stdout_console()
    if format is CompareFormat.TABLE and out is None and (reason or console.is_terminal):
        print_tables(formats.compare_tables(pairs, gate), console)  # the reason goes to stderr
        return
    writers = {
        CompareFormat.JSON: formats.compare_json,
        CompareFormat.JUNIT: formats.as_junit,
        CompareFormat.GITHUB: formats.workflow_commands,
        CompareFormat.MARKDOWN: formats.compare_markdown,
        CompareFormat.TABLE: formats.compare_text,
    }
    text = writers[format](pairs, gate, reason)
    if format is CompareFormat.GITHUB and (summary := os.environ.get(formats.SUMMARY)):
        formats.append_summary(Path(summary), pairs, gate, reason)
    _print_or_write(text, out)


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_out(out, text)
        cli.note(f"Written: {out}")


plot = cli.subcommands("Draw results: score against cost, training curves.")
PICTURE = opt.option(..., "The file to write; its suffix is the format: .png, .svg or .pdf.")
COST = "trainable_parameters"
WIDTH = opt.option(7, "Inches: 7 for a page or a README, 3.4 for a paper's column.", min=3, max=20)


@plot.command(epilog=cli.example("plot pareto --out pareto.svg --tasks image-text"))
@opt.with_options
def pareto(
    options: opt.BoardOptions,
    out: Path = PICTURE,
    cost: str = opt.option(
        COST, "trainable_parameters, adapter_bytes, peak_memory_bytes, train_seconds, or all."
    ),
    metric: str = opt.option("average", "A metric such as vqav2.accuracy, or the average."),
    method: list[str] | None = opt.METHODS,
    width: float = WIDTH,
) -> None:
    """Draw scores against costs, and the Pareto front."""
    from vlbench.leaderboard.pareto import find_costs

    _check_picture(out)
    costs = find_costs(cost)
    boards, damaged = _boards(options, method, has_ties=True)
    from vlbench.leaderboard.pareto import pareto
    from vlbench.leaderboard.plots import save

    save(pareto(boards, costs, metric, width), out)
    cli.note(f"Written: {out}")
    cli.end_left_out(damaged)


@plot.command(epilog=cli.example("plot curves --out curves.svg --method lora,full"))
@opt.with_options
def curves(
    options: opt.BoardOptions,
    out: Path = PICTURE,
    quantity: Quantity = opt.option(Quantity.LOSS, "The loss by step, or validation by epoch."),
    method: list[str] | None = opt.METHODS,
    width: float = WIDTH,
) -> None:
    """Draw how runs trained: a line per method.

    A band spans the seeds of a method.
    """
    _check_picture(out)
    boards, damaged = _boards(options, method)
    from vlbench.leaderboard.plots import curves, save

    save(curves(boards, options.results, quantity, width), out)
    cli.note(f"Written: {out}")
    cli.end_left_out(damaged)


def _check_picture(out: Path) -> None:
    """Refuse, before anything is read, a format or a place that cannot be written."""
    from vlbench.leaderboard.plots import picture_format

    picture_format(out)
    check_out(out)


def _boards(
    options: opt.BoardOptions, methods: list[str] | None, has_ties: bool = False
) -> tuple[list[Board], list[DataError]]:
    """The boards of the runs that the filters leave, and what cannot be read."""
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.load import read_boards

    damaged: list[DataError] = []
    examples = Examples(options.results, damaged) if has_ties else None
    return read_boards(options.results, options.filters(methods), examples, damaged), damaged
