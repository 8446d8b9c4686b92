"""`vlbench plot`: pictures of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.filters import Backbones, Editions, Methods, Tasks
from vlbench.cli.output import note
from vlbench.errors import DataError
from vlbench.files import check_out
from vlbench.leaderboard.plots import Quantity

if TYPE_CHECKING:
    from vlbench.leaderboard.summary import Board

plot = typer.Typer(
    help="Draw results: score against cost, training curves.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


Out = Annotated[
    Path, typer.Option(help="The file to write; its suffix is the format: .png, .svg or .pdf.")
]
Results = Annotated[Path, typer.Option(help="The results folder.")]
Include = Annotated[
    list[str] | None, typer.Option(help="smoke: draw runs with --limit too, on axes of their own.")
]
Width = Annotated[
    float,
    typer.Option(min=3, max=20, help="Inches: 7 for a page or a README, 3.4 for a paper's column."),
]


@plot.command()
def pareto(
    out: Out,
    cost: Annotated[
        str,
        typer.Option(
            help="trainable_parameters, adapter_bytes, peak_memory_bytes, train_seconds, or all."
        ),
    ] = "trainable_parameters",
    metric: Annotated[
        str, typer.Option(help="The height: a metric such as vqav2.accuracy, or the average.")
    ] = "average",
    results: Results = Path("results"),
    tasks: Tasks = None,
    backbone: Backbones = None,
    edition: Editions = None,
    method: Methods = None,
    include: Include = None,
    width: Width = 7,
) -> None:
    """Draw what methods score against what they cost, and which no other beats in both."""
    from vlbench.leaderboard.plots.points import find_costs
    from vlbench.leaderboard.plots.style import picture_format

    picture_format(out)  # told before anything is read
    check_out(out)
    costs = find_costs(cost)
    damaged: list[DataError] = []
    boards = _boards(results, tasks, backbone, edition, method, include, damaged, is_tied=True)
    from vlbench.leaderboard.plots.pareto import pareto, pareto_text, pareto_title
    from vlbench.leaderboard.plots.points import with_metric
    from vlbench.leaderboard.plots.style import save, styled

    tied = with_metric(boards, metric)
    with styled():
        figure = pareto(tied, costs, metric, width)
        save(figure, out, pareto_title(tied, costs, metric), pareto_text(tied, costs, metric))
    _end(out, damaged)


@plot.command()
def curves(
    out: Out,
    quantity: Annotated[
        Quantity, typer.Option(help="The training loss by step, or validation by epoch.")
    ] = Quantity.LOSS,
    results: Results = Path("results"),
    tasks: Tasks = None,
    backbone: Backbones = None,
    edition: Editions = None,
    method: Methods = None,
    include: Include = None,
    width: Width = 7,
) -> None:
    """Draw how the runs behind the results trained: a line per method, a band over its seeds."""
    from vlbench.leaderboard.plots.style import picture_format

    picture_format(out)
    check_out(out)
    damaged: list[DataError] = []
    boards = _boards(results, tasks, backbone, edition, method, include, damaged)
    from vlbench.leaderboard.plots.curves import NOTES, curves, curves_title
    from vlbench.leaderboard.plots.style import save, styled

    with styled():
        figure = curves(boards, results, quantity, width)
        save(figure, out, curves_title(boards, quantity), NOTES[quantity])
    _end(out, damaged)


def _boards(
    results: Path,
    tasks: list[str] | None,
    backbone: list[str] | None,
    edition: list[str] | None,
    method: list[str] | None,
    include: list[str] | None,
    damaged: list[DataError],
    is_tied: bool = False,
) -> list[Board]:
    """The boards of the runs that the filters leave; `damaged` is as in `read_results`."""
    from vlbench.backbones import BACKBONES
    from vlbench.leaderboard.boards import Filters, read_boards
    from vlbench.leaderboard.examples import Examples

    filters = Filters(
        tasks or (), backbone or (), edition or (), include or (), BACKBONES, method or ()
    )
    examples = Examples(results, damaged) if is_tied else None
    return read_boards(results, filters, examples, damaged)


def _end(out: Path, damaged: list[DataError]) -> None:
    """Say what is written; an error where runs were left out."""
    from vlbench.leaderboard.results import left_out

    note(f"Written: {out}")
    if damaged:
        raise left_out(damaged)
