"""The picture of training: loss by step, or validation by epoch, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlbench.errors import NothingToReport
from vlbench.leaderboard.logs import read_log
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.plots.captions import curve_notes
from vlbench.leaderboard.plots.descriptions import curves_heading
from vlbench.leaderboard.plots.grid import Grid, grid, rows
from vlbench.leaderboard.plots.lines import Line, Lines, Logs, loss_lines, validation_lines
from vlbench.leaderboard.plots.page import (
    Band,
    Entry,
    Look,
    add_axes,
    heading,
    legend,
    page,
    small_print,
    space,
)
from vlbench.leaderboard.plots.quantity import Quantity
from vlbench.leaderboard.scales import linear_ticks, log_ticks, short
from vlbench.leaderboard.summary import Board

LOOKS = (
    ("#0072b2", "-"),
    ("#d55e00", (0, (4, 1.5))),
    ("#009e73", (0, (1, 1))),
    ("#cc79a7", (0, (6, 1.5, 1, 1.5))),
    ("#000000", (0, (2.5, 1.5))),
    ("#e69f00", (0, (8, 2))),
    ("#56b4e9", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
)
"""Colours of Okabe and Ito (2008), each with dashes of its own: as many lines as are told apart."""
OTHERS = "#c4c4c4"
FEW, FEW_BAND, MANY_BAND = 4, 0.15, 0.07
"""How dark the bands of so many lines are, and of more."""
TALL = 0.62
"""Height of axes by their width."""


MADE = {Quantity.LOSS: loss_lines, Quantity.VALIDATION: validation_lines}
NOTES = {
    Quantity.LOSS: "Loss of training batches: the median of each stretch of steps, then the mean "
    "of the seeds. Band: the lowest and the highest seed.",
    Quantity.VALIDATION: "Validation split after each epoch: mean of the seeds. Band: the lowest "
    "and the highest seed.",
}


def curves(boards: Sequence[Board], folder: Path, quantity: Quantity, width: float = 7.0) -> Figure:
    """How the runs of the boards trained, from their folders in a results folder."""
    bands: list[Band] = []
    for board in boards:
        logs = read_logs(board, folder)
        shown = MADE[quantity](board, logs)
        if shown:
            bands += [space(0.2)] if bands else []
            bands += _bands(board, logs, shown, quantity, width)
    if not bands:
        raise NothingToReport(
            f"{folder}: No run of these has noted a {quantity} (looked for runs/*/metrics.jsonl)."
        )
    return page(bands, width)


def read_logs(board: Board, folder: Path) -> Logs:
    """The logs of the runs that count, by row and seed; those without one are left out."""
    read = {
        row.label: {seed: read_log(folder, key) for seed, key in row.runs.items()}
        for row in board.rows
    }
    return {
        label: {seed: log for seed, log in logs.items() if log is not None}
        for label, logs in read.items()
    }


def _bands(
    board: Board, logs: Logs, shown: Sequence[Lines], quantity: Quantity, width: float
) -> list[Band]:
    places = grid(len(shown), width)
    looks = _looks(board, shown)
    tall = places.wide * TALL
    draws = [partial(_draw, places, each, looks, quantity) for each in shown]
    notes = [NOTES[quantity], *_others(board, looks, shown), *_missing(board, logs)]
    return [
        heading(curves_heading(board, quantity), width),
        space(0.06),
        *rows(places, draws, tall, above=0.24),
        space(0.04),
        legend(_entries(looks, len(_labels(shown))), width),
        space(0.05),
        small_print([*notes, *curve_notes(board)], width),
    ]


def _labels(shown: Sequence[Lines]) -> list[str]:
    """The methods that have a line."""
    return list(dict.fromkeys(line.row.label for each in shown for line in each.lines))


def _looks(board: Board, shown: Sequence[Lines]) -> dict[str, Look]:
    """Colour and dashes of the first methods, in the board's order: best first, floors last."""
    there = set(_labels(shown))
    labels = [row.label for row in board.rows if row.label in there]
    return {
        label: {"color": colour, "linestyle": dashes, "linewidth": 1.1}
        for label, (colour, dashes) in zip(labels, LOOKS, strict=False)
    }


def _draw(
    places: Grid,
    shown: Lines,
    looks: Mapping[str, Look],
    quantity: Quantity,
    figure: Figure,
    left: float,
    bottom: float,
) -> Axes:
    """One pair of axes: the best methods in colour and in front, the others in grey."""
    axes = add_axes(figure, left, bottom, places.wide, places.wide * TALL)
    band = FEW_BAND if len(looks) <= FEW else MANY_BAND
    for line in reversed(shown.lines):
        _draw_line(axes, line, looks.get(line.row.label), quantity, band)
    axes.set_title("average" if shown.name == AVERAGE else shown.name, loc="left", pad=3)
    if quantity is Quantity.LOSS:
        axes.set_yscale("log")
    _name_axes(axes, shown, quantity)
    return axes


def _draw_line(axes: Axes, line: Line, look: Look | None, quantity: Quantity, band: float) -> None:
    if look is None:
        axes.plot(line.x, line.mean, color=OTHERS, linewidth=0.7, zorder=2)
        return
    point: Look = {"marker": "o", "markersize": 2.5} if quantity is Quantity.VALIDATION else {}
    axes.plot(line.x, line.mean, zorder=3, **look, **point)
    if line.n > 1:
        axes.fill_between(
            line.x, line.low, line.high, color=look["color"], alpha=band, linewidth=0, zorder=2.5
        )


def _name_axes(axes: Axes, shown: Lines, quantity: Quantity) -> None:
    """Round numbers beside the axes."""
    last = max(line.x[-1] for line in shown.lines)
    low, high = axes.get_ylim()
    if quantity is Quantity.LOSS:
        axes.set_xlabel("step", labelpad=2)
        axes.set_ylabel("loss (log scale)", labelpad=2)
        across, up = linear_ticks(0, axes.get_xlim()[1]), log_ticks(low, high)
    else:
        axes.set_xlabel("epoch", labelpad=2)
        axes.set_ylabel("%", labelpad=2)
        step = max(1, round(last / 6))
        across, up = [float(n) for n in range(step, int(last) + 1, step)], linear_ticks(low, high)
    axes.set_xticks(across, [short(value) for value in across])
    axes.set_yticks(up, [short(value) for value in up])
    axes.set_yticks([], minor=True)
    axes.set_ylim(low, high)


def _entries(looks: Mapping[str, Look], count: int) -> list[Entry]:
    entries = [Entry(label, dict(look), is_line=True) for label, look in looks.items()]
    if count > len(looks):
        entries.append(Entry("others", {"color": OTHERS, "linewidth": 0.7}, is_line=True))
    return entries


def _others(board: Board, looks: Mapping[str, Look], shown: Sequence[Lines]) -> list[str]:
    """The methods in grey."""
    grey = [label for label in _labels(shown) if label not in looks]
    if not grey:
        return []
    return [
        f"In colour: the first {len(looks)} of {len(looks) + len(grey)} methods by average; "
        f"in grey: {', '.join(sorted(grey))}. Choose with --method."
    ]


def _missing(board: Board, logs: Logs) -> list[str]:
    """The seeds that have no training curve."""
    missing = {
        row.label: [seed for seed in row.seeds if seed not in logs[row.label]] for row in board.rows
    }
    told = [
        f"{label} (seed {', '.join(map(str, seeds))})" for label, seeds in missing.items() if seeds
    ]
    return [f"No metrics.jsonl beside the result: {', '.join(told)}."] if told else []
