"""`vlbench report`, `compare` and `plot`: what a results folder shows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.files import check_out, write_out
from vlbench.text import results_option

if TYPE_CHECKING:
    from vlbench.leaderboard.board import Board
    from vlbench.leaderboard.compare import Place
    from vlbench.leaderboard.tables import Table

ReportFormat = StrEnum("ReportFormat", "TABLE MARKDOWN LATEX CSV JSON HTML")
CompareFormat = StrEnum("CompareFormat", "TABLE JSON MARKDOWN JUNIT")
Quantity = StrEnum("Quantity", "LOSS VALIDATION")


@opt.with_options
def report(
    options: opt.BoardOptions,
    format: ReportFormat = opt.option(ReportFormat.TABLE, "How to write it."),
    out: Path | None = opt.option(None, "Write it to this file; html: the pages to this folder."),
    method: list[str] | None = opt.METHODS,
    max_trainable: float | None = opt.option(
        None, "Only rows that train at most so many %: 5.", min=0, max=100
    ),
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
    if is_html and (out is None or out.is_file()):
        raise UsageError("--format html writes a folder of pages; name it: --out site")
    if no_media and not is_html:
        raise UsageError("--no-media is an option of --format html; leave it away.")
    if out is not None and not is_html:
        check_out(out)
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.load import read_boards
    from vlbench.leaderboard.paper import paper_parts

    damaged: list[DataError] = []
    examples = Examples(options.results, damaged)
    filters = options.filters(method, max_trainable=max_trainable, sort=sort)
    boards = read_boards(options.results, filters, examples, damaged)
    if is_html and out is not None:
        from vlbench.leaderboard.site import write_site

        index = write_site(boards, examples, out, say=cli.note, has_media=not no_media)
        cli.note(f"Written: {index}")
    else:
        from vlbench.leaderboard import formats
        from vlbench.leaderboard.tables import report_tables

        methods = {row.method for board in boards for row in board.rows} if method else None
        papers = paper_parts(boards, methods, max_trainable) if paper else []
        write: Any = {ReportFormat.JSON: formats.as_json, ReportFormat.CSV: formats.as_csv}
        if format in write:
            text = write[format](boards, families, costs, papers)
        else:
            text = _text(format, report_tables(boards, families, costs, papers), out)
        _print_or_write(text, out)
    cli.end_left_out(damaged)


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
    if out is not None:
        check_out(out)
    from vlbench.leaderboard import compare as gates
    from vlbench.leaderboard import compare_formats as formats

    filters = options.filters(seeds=opt.seed_numbers(seeds) if seeds else ())
    nothing: NothingToReport | None = None
    places: list[Place] = []
    damaged: list[DataError] = []
    try:
        places = gates.both_sides(a, b, options.results, baseline, filters, damaged)
    except NothingToReport as error:  # a server that reads the answer gets the reason too
        nothing = error
    gate, reason = None if max_drop is None else gates.gate(places, max_drop), str(nothing or "")
    write: Any = {CompareFormat.JSON: formats.compare_json, CompareFormat.JUNIT: formats.as_junit}
    if format in write:
        text = write[format](places, gate, reason)
    else:
        text = _text(format, formats.compare_tables(places, gate, reason), out)
    _print_or_write(text, out)
    cli.end_left_out(damaged, is_failure=not (gate and gate["faults"]))
    if nothing:
        raise nothing
    gates.refuse(places, gate)


def _text(format: str, tables: list[Table], out: Path | None) -> str:
    """The tables in a format that people read: for the terminal where that is what stdout is."""
    from vlbench.leaderboard import formats

    if format == "markdown":
        return formats.as_markdown(tables)
    if format == "latex":
        return formats.as_latex(tables)
    return formats.as_text(tables, None if out else cli.stdout_console())


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_out(out, text)
        cli.note(f"Written: {out}")


plot = cli.subcommands("Draw results: score against cost, training curves.")
PICTURE = opt.option(..., "The file to write; its suffix is the format: .png, .svg or .pdf.")
COST = "trainable_parameters, adapter_bytes, peak_memory_bytes, train_seconds, or all."
WIDTH = opt.option(7, "Inches: 7 for a page or a README, 3.4 for a paper's column.", min=3, max=20)


@plot.command(epilog=cli.example("plot pareto --out pareto.svg --tasks image-text"))
@opt.with_options
def pareto(
    options: opt.BoardOptions,
    out: Path = PICTURE,
    cost: str = opt.option("trainable_parameters", COST),
    metric: str = opt.option("average", "A metric such as vqav2.accuracy, or the average."),
    method: list[str] | None = opt.METHODS,
    width: float = WIDTH,
) -> None:
    """Draw scores against costs, and the Pareto front."""
    from vlbench.leaderboard.pareto import find_costs, pareto, with_metric
    from vlbench.leaderboard.plots import picture_format, save

    picture_format(out)
    check_out(out)
    costs = find_costs(cost)
    boards, damaged = _boards(options, method, has_ties=True)
    save(pareto(with_metric(boards, metric), costs, metric, width), out)
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
    from vlbench.leaderboard.plots import curves, picture_format, save

    picture_format(out)
    check_out(out)
    boards, damaged = _boards(options, method)
    save(curves(boards, options.results, quantity, width), out)
    cli.note(f"Written: {out}")
    cli.end_left_out(damaged)


def _boards(
    options: opt.BoardOptions, methods: list[str] | None, has_ties: bool = False
) -> tuple[list[Board], list[DataError]]:
    """The boards of the runs that the filters leave, and what cannot be read."""
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.load import read_boards

    damaged: list[DataError] = []
    examples = Examples(options.results, damaged) if has_ties else None
    return read_boards(options.results, options.filters(methods), examples, damaged), damaged
