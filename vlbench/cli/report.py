"""`vlbench report`, `compare`, `recommend` and `plot`: what a results folder shows."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.files import check_out, write_out

if TYPE_CHECKING:
    from vlbench.leaderboard.board import Board
    from vlbench.leaderboard.compare import Pair
    from vlbench.leaderboard.plots import Plot
    from vlbench.leaderboard.tables import Table

ReportFormat = StrEnum("ReportFormat", "TABLE MARKDOWN LATEX CSV JSON HTML")
CompareFormat = StrEnum("CompareFormat", "TABLE JSON MARKDOWN")
TRAINABLE = "Only rows that train at most so many % of the parameters."
SORT = "Order rows by method, trainable, average or a task; best first."
ROW = "A row: a method, compacter:params.reduction=4 (one of several), or a run's key."
MARGIN = "Points of the normalised score within which A matches B."
GATE = "The gate: end with 1 where A is worse by more points, or has lost a task or seed."
COST = "trainable_parameters, adapter_bytes, peak_memory_bytes, train_seconds, or all."
FORMAT = "How to write it."


@opt.with_options
def report(
    options: opt.BoardOptions,
    format: ReportFormat = opt.option(ReportFormat.TABLE, FORMAT),
    out: Path | None = opt.option(None, "Write it to this file; html: the pages to this folder."),
    method: list[str] | None = opt.METHODS,
    max_trainable: float | None = opt.option(None, TRAINABLE, min=0, max=100),
    sort: str = opt.option("", SORT),
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
    from vlbench.leaderboard import formats
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.load import read_boards
    from vlbench.leaderboard.paper import paper_parts
    from vlbench.leaderboard.tables import report_tables

    damaged: list[DataError] = []
    examples = Examples(options.results, damaged)
    filters = options.filters(method, max_trainable=max_trainable, sort=sort)
    boards = read_boards(options.results, filters, examples, damaged)
    methods = {row.method for board in boards for row in board.rows} if method else None
    papers = paper_parts(boards, methods, max_trainable) if paper else []
    if is_html and out is not None:
        from vlbench.leaderboard.site import write_site

        index = write_site(boards, examples, out, say=cli.note, has_media=not no_media)
        cli.note(f"Written: {index}")
    elif format in (ReportFormat.JSON, ReportFormat.CSV):
        write = formats.as_json if format is ReportFormat.JSON else formats.as_csv
        _print_or_write(write(boards, families, costs, papers), out)
    else:
        _write_tables(report_tables(boards, families, costs, papers), format, out)
    cli.end_left_out(damaged)


@opt.with_options
def compare(
    options: opt.BoardOptions,
    a: str = opt.argument(..., ROW),
    b: str | None = opt.argument(None, "The row to hold it against; else A's of --baseline."),
    baseline: Path | None = opt.option(None, "The results folder of B, where it is another one."),
    seeds: str | None = opt.SEEDS,
    margin: float = opt.option(5.0, MARGIN),
    max_drop: float | None = opt.option(None, GATE),
    format: CompareFormat = opt.option(
        CompareFormat.TABLE, FORMAT, envvar="VLBENCH_COMPARE_FORMAT"
    ),
    out: Path | None = opt.option(None, "Write it to this file."),
) -> None:
    """Compare two rows task by task, with a test.

    Difference, interval, p and verdict per task; with --max-drop the gate of CI.
    """
    if b is None and baseline is None:
        text = "Name a second row, or another folder that has this one: --baseline DIR."
        raise UsageError(f"{a}: compare with what? {text}")
    if out is not None:
        check_out(out)
    from vlbench.leaderboard import compare as gates
    from vlbench.leaderboard import compare_formats as formats

    filters = options.filters(seeds=opt.seed_numbers(seeds) if seeds else ())
    nothing: NothingToReport | None = None
    pairs: list[Pair] = []
    damaged: list[DataError] = []
    try:
        pairs = gates.both_sides(a, b, options.results, baseline, filters, damaged, margin)
    except NothingToReport as error:  # a server that reads the answer gets the reason too
        nothing = error
    gate, reason = None if max_drop is None else gates.gate(pairs, max_drop), str(nothing or "")
    if format is CompareFormat.JSON:
        _print_or_write(formats.compare_json(pairs, gate, reason), out)
    elif out or not nothing:  # which stderr gets
        _write_tables(formats.compare_tables(pairs, gate, reason), format, out)
    cli.end_left_out(damaged, is_failure=not (gate and gate["faults"]))
    if nothing:
        raise nothing
    gates.refuse(pairs, gate)


@opt.with_options
def recommend(
    options: opt.BoardOptions,
    max_trainable: float | None = opt.option(
        None, "At most so many % of the parameters train.", min=0, max=100
    ),
    max_memory: float | None = opt.option(None, "At most so many MB of peak memory.", min=0),
    max_minutes: float | None = opt.option(None, "At most so many minutes of training.", min=0),
    format: CompareFormat = opt.option(
        CompareFormat.TABLE, FORMAT, envvar="VLBENCH_RECOMMEND_FORMAT"
    ),
    out: Path | None = opt.option(None, "Write it to this file."),
) -> None:
    """Say which method to take: the best that fits.

    With what ties with it by test, and what it gives up against the best of all.
    """
    if out is not None:
        check_out(out)
    from vlbench.leaderboard import recommend as advising
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.load import read_boards

    options_given = zip(advising.COSTS, (max_trainable, max_memory, max_minutes), strict=True)
    limits = {name: most for name, most in options_given if most is not None}
    damaged: list[DataError] = []
    examples = Examples(options.results, damaged)
    boards = read_boards(options.results, options.filters(), examples, damaged)
    advice = advising.recommend(boards, examples, limits)
    if format is CompareFormat.JSON:
        _print_or_write(advising.recommend_json(advice), out)
    else:
        _write_tables(advising.recommend_tables(advice), format, out)
    cli.end_left_out(damaged)


def _write_tables(tables: list[Table], format: str, out: Path | None) -> None:
    from vlbench.leaderboard import formats

    writers = {"markdown": formats.as_markdown, "latex": formats.as_latex}
    _print_or_write(writers.get(format, formats.as_text)(tables), out)


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_out(out, text)
        cli.note(f"Written: {out}")


plot = cli.subcommands("Draw results: score against cost, training curves.")
PICTURE = opt.option(..., "The file to write; its suffix is the format: .png, .svg or .pdf.")
WIDTH = opt.option(7, "Inches: 7 for a page or a README, 3.4 for a paper's column.", min=3, max=20)


@plot.command(epilog=cli.example("plot pareto --out pareto.svg --tasks image-text"))
@opt.with_options
def pareto(
    options: opt.BoardOptions,
    out: Path = PICTURE,
    cost: str = opt.option("trainable_parameters", COST),
    metric: str = opt.option("", "vqav2.accuracy, average or normalised; else what ranks rows."),
    method: list[str] | None = opt.METHODS,
    width: float = WIDTH,
) -> None:
    """Draw scores against costs, and the Pareto front."""
    from vlbench.leaderboard.pareto import find_costs, pareto

    costs = find_costs(cost)
    _draw(options, method, out, lambda boards: pareto(boards, costs, metric, width), has_ties=True)


@plot.command(epilog=cli.example("plot curves --out curves.svg --method lora,full"))
@opt.with_options
def curves(
    options: opt.BoardOptions,
    out: Path = PICTURE,
    method: list[str] | None = opt.METHODS,
    width: float = WIDTH,
) -> None:
    """Draw the training loss by step: a line per method.

    A band spans the seeds of a method.
    """
    from vlbench.leaderboard.plots import curves

    _draw(options, method, out, lambda boards: curves(boards, options.results, width))


@plot.command(epilog=cli.example("plot rates --results search --out rates.svg"))
@opt.with_options
def rates(
    out: Path = PICTURE,
    method: list[str] | None = opt.METHODS,
    results: Path = opt.RESULTS,
    width: float = WIDTH,
) -> None:
    """Draw a sweep: score against learning rate, a line per method."""
    from vlbench import sweep
    from vlbench.cards.load import split_names
    from vlbench.leaderboard.plots import encoded, picture_format
    from vlbench.leaderboard.rates import Line, rates

    suffix = picture_format(out)
    check_out(out)
    wanted = split_names(method) if method else []
    panels: dict[str, dict[str, Line]] = {}
    for cell, searches in sweep.stored_searches(results).items():
        ruler = sweep.ruler_of(searches)
        lines = {own.method: own.means(ruler) for own in searches}
        panels[cell.title] = {
            own.method: Line([*means], [*means.values()], own.ranked(ruler)[0])
            for own in searches
            if (means := lines[own.method]) and (not wanted or own.method in wanted)
        }
    if not any(panels.values()):
        raise NothingToReport(f"{results}: no trials of a search here. Make some: vlbench sweep")
    write_out(out, encoded(rates({t: p for t, p in panels.items() if p}, [], width), suffix))
    cli.note(f"Written: {out}")


def _draw(
    options: opt.BoardOptions,
    methods: list[str] | None,
    out: Path,
    draw: Callable[[list[Board]], Plot],
    has_ties: bool = False,
) -> None:
    """Draw the boards; a file that cannot be written is refused before anything is read."""
    from vlbench.leaderboard.examples import Examples
    from vlbench.leaderboard.load import read_boards
    from vlbench.leaderboard.plots import encoded, picture_format

    suffix = picture_format(out)
    check_out(out)
    damaged: list[DataError] = []
    examples = Examples(options.results, damaged) if has_ties else None
    boards = read_boards(options.results, options.filters(methods), examples, damaged)
    write_out(out, encoded(draw(boards), suffix))
    cli.note(f"Written: {out}")
    cli.end_left_out(damaged)
