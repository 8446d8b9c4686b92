"""The plot of training: loss by step, or validation by epoch, a line for each method."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.errors import NothingToReport
from vlbench.leaderboard.board import AVERAGE, Board, Row
from vlbench.leaderboard.plots import Quantity
from vlbench.leaderboard.results import Log, read_log
from vlbench.leaderboard.tables import code_note, data_note, listed_seeds, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_BINS = 24
"""Most points of a line of losses, each the median of a stretch of steps."""
LOSSES_A_BIN = 2
"""Least number of losses that a seed should have in a bin."""
OTHERS: dict[str, Any] = {"color": "#c4c4c4", "linewidth": 0.7}
Curve = Mapping[float, float]
"""Height by step or epoch, of one seed."""
Logs = Mapping[str, Mapping[int, Log]]
"""By row label and seed."""


NOTES = {
    Quantity.LOSS: "Loss of training batches: the median of each stretch of steps, then the mean "
    "of the seeds. Band: the lowest and the highest seed.",
    Quantity.VALIDATION: "Validation split after each epoch: mean of the seeds. Band: the lowest "
    "and the highest seed.",
}


@dataclass(frozen=True)
class Line:
    """One method: at each step or epoch the mean of its seeds, the lowest and the highest."""

    row: Row
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    n_seeds: int


@dataclass(frozen=True)
class Panel:
    """One pair of axes: the losses of a task, or a metric on the validation split."""

    name: str
    lines: Sequence[Line]


def curves(boards: Sequence[Board], folder: Path, quantity: Quantity, width: float = 7.0) -> Figure:
    """Draw how the runs of the boards trained, from their folders in a results folder."""
    from matplotlib.lines import Line2D

    from vlbench.leaderboard.plots.style import LINES, Block, draw_blocks

    shown, blocks = [], []
    for board in boards:
        logs = read_logs(board, folder)
        drawn = panels(board, logs, quantity)
        if not drawn:
            continue
        having = {line.row.label for panel in drawn for line in panel.lines}
        labels = [row.label for row in board.rows if row.label in having]
        looks: dict[str, dict[str, Any]] = {
            label: {"color": colour, "linestyle": dashes, "linewidth": 1.1}
            for label, (colour, dashes) in zip(labels, LINES, strict=False)
        }
        legend = [Line2D([], [], label=label, **look) for label, look in looks.items()]
        grey = sorted(labels[len(looks) :])
        legend += [Line2D([], [], label="others", **OTHERS)] if grey else []
        notes = [NOTES[quantity]]
        if grey:
            notes.append(
                f"In colour: the first {len(looks)} of {len(labels)} methods by average; "
                f"in grey: {', '.join(grey)}. Choose with --method."
            )
        notes += [*_without_curve(board, logs), f"Seeds: {listed_seeds(board)}."]
        notes += [data_note(board, has_counts=False), code_note(board), *board.notes]
        heading = title(board).replace("test split", quantity.heading)
        blocks.append(Block(heading, len(drawn), 0.28 * width, legend, notes, has_titles=True))
        shown.append((drawn, looks))
    if not blocks:
        raise NothingToReport(
            f"{folder}: No run of these has noted a {quantity} (looked for runs/*/metrics.jsonl)."
        )
    figure, axes_by_block = draw_blocks(blocks, width)
    for (drawn, looks), grid in zip(shown, axes_by_block, strict=True):
        for panel, axes in zip(drawn, grid, strict=True):
            _draw_panel(axes, panel, looks, quantity)
    return figure


def loss_lines(row: Row, logs: Sequence[Log]) -> dict[str, Line]:
    """Return how the losses of one row fell, by task; tasks with a single point are left out."""
    positive = [
        Log({task: [p for p in losses if p[1] > 0] for task, losses in log.losses.items()}, {})
        for log in logs
    ]
    tasks = sorted({task for log in positive for task in log.losses})
    lines = {task: line for task in tasks for line in _lines(row, _losses(positive, task))}
    return {task: line for task, line in lines.items() if len(line.x) > 1}


def loss_plot(lines: Mapping[str, Line], title: str, width: float = 6.0) -> Figure:
    """Draw `loss_lines` on one pair of axes, a line for each task."""
    from matplotlib.lines import Line2D

    from vlbench.leaderboard.plots.style import LINES, Block, draw_blocks

    looks: dict[str, dict[str, Any]] = {
        task: {"color": colour, "linestyle": dashes, "linewidth": 1.1}
        for task, (colour, dashes) in zip(lines, itertools.cycle(LINES), strict=False)
    }
    legend = [Line2D([], [], label=task, **look) for task, look in looks.items()]
    block = Block(title, 1, 0.4 * width, legend, [NOTES[Quantity.LOSS]])
    figure, [[axes]] = draw_blocks([block], width)
    for task, line in lines.items():
        _draw_line(axes, line, looks[task], 0.12)
    _label_axes(axes, Quantity.LOSS)
    return figure


def curves_title(boards: Sequence[Board], quantity: Quantity) -> str:
    """Say what is drawn, and of which boards."""
    return "; ".join(title(board).replace("test split", quantity.heading) for board in boards)


def panels(board: Board, logs: Logs, quantity: Quantity) -> list[Panel]:
    """Return the axes of a board: each task's losses; or the average, then each main metric."""
    metrics = list(board.mains.values())
    if quantity is Quantity.LOSS:
        names = list(board.mains)
    else:
        names = [AVERAGE] * (len(metrics) > 1) + metrics
    drawn = []
    for name in names:
        lines = []
        for row in board.rows:
            seeds = list(logs[row.label].values())
            if quantity is Quantity.LOSS:
                seed_curves = _losses(seeds, name)
            else:
                wanted = metrics if name == AVERAGE else [name]
                seed_curves = [_validation(log, wanted) for log in seeds]
            lines += _lines(row, seed_curves)
        drawn += [Panel(name, lines)] if lines else []
    return drawn


def read_logs(board: Board, folder: Path) -> Logs:
    """Return the logs of the runs that count; those without one are left out."""
    read = {
        row.label: {seed: read_log(folder, key) for seed, key in row.runs.items()}
        for row in board.rows
    }
    return {
        label: {seed: log for seed, log in logs.items() if log is not None}
        for label, logs in read.items()
    }


def _lines(row: Row, seed_curves: Sequence[Curve]) -> list[Line]:
    """The curves of the seeds as one line, over the steps or epochs that all of them have."""
    kept = [curve for curve in seed_curves if curve]
    common = sorted(set.intersection(*map(set, kept))) if kept else []
    if not common:
        return []
    heights = [[curve[x] for curve in kept] for x in common]
    means = [statistics.fmean(values) for values in heights]
    return [Line(row, common, means, [*map(min, heights)], [*map(max, heights)], len(kept))]


def _losses(seeds: Sequence[Log], task: str) -> list[Curve]:
    """For each seed the median loss of each stretch of steps, by the stretch's middle."""
    counts = [len(log.losses.get(task, ())) for log in seeds]
    n_bins = max(1, min([N_BINS, *(count // LOSSES_A_BIN for count in counts if count)]))
    size = max((log.last_step for log in seeds), default=0) / n_bins
    found: list[Curve] = []
    for log in seeds:
        bins: dict[int, list[float]] = {}
        for step, loss in log.losses.get(task, ()):
            bins.setdefault(min(int(step / size), n_bins - 1), []).append(loss)
        found.append({(n + 0.5) * size: statistics.median(losses) for n, losses in bins.items()})
    return found


def _validation(log: Log, metrics: Sequence[str]) -> Curve:
    """The mean of the metrics by epoch, where all of them were measured."""
    return {
        epoch: statistics.fmean(values[metric] for metric in metrics)
        for epoch, values in log.validations.items()
        if all(metric in values for metric in metrics)
    }


def _without_curve(board: Board, logs: Logs) -> list[str]:
    """The seeds that have no training curve, as a note."""
    missing = {
        row.label: [str(seed) for seed in row.seeds if seed not in logs[row.label]]
        for row in board.rows
    }
    parts = [f"{label} (seed {', '.join(seeds)})" for label, seeds in missing.items() if seeds]
    return [f"No metrics.jsonl beside the result: {', '.join(parts)}."] if parts else []


def _draw_panel(
    axes: Axes, panel: Panel, looks: Mapping[str, Mapping[str, Any]], quantity: Quantity
) -> None:
    """The best methods in colour and in front, the others in grey."""
    point: dict[str, Any] = (
        {"marker": "o", "markersize": 2.5} if quantity is Quantity.VALIDATION else {}
    )
    for line in reversed(panel.lines):
        look = looks.get(line.row.label)
        if look is None:
            axes.plot(line.x, line.mean, zorder=2, **OTHERS)
        else:
            _draw_line(axes, line, {**look, **point}, 0.15 if len(looks) <= 4 else 0.07)
    axes.set_title(panel.name, pad=3)
    _label_axes(axes, quantity)


def _draw_line(axes: Axes, line: Line, look: Mapping[str, Any], alpha: float) -> None:
    """The mean of the seeds, and a band from the lowest to the highest."""
    axes.plot(line.x, line.mean, zorder=3, **look)
    if line.n_seeds > 1:
        band: dict[str, Any] = {"color": look["color"], "alpha": alpha, "linewidth": 0}
        axes.fill_between(line.x, line.low, line.high, zorder=2.5, **band)


def _label_axes(axes: Axes, quantity: Quantity) -> None:
    from matplotlib.ticker import MaxNLocator

    from vlbench.leaderboard.plots.style import log_axis

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step" if quantity is Quantity.LOSS else "epoch", labelpad=2)
    if quantity is Quantity.LOSS:
        axes.set_yscale("log")
        log_axis(axes.yaxis, "loss (log scale)")
    else:
        axes.set_ylabel("%", labelpad=2)
