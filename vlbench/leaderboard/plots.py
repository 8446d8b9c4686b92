"""How plots look, how they are laid out and written to files; the plots of training curves."""

from __future__ import annotations

import io
import itertools
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from vlbench.errors import NothingToReport, UsageError
from vlbench.files import write_out
from vlbench.leaderboard.board import AVERAGE, Board
from vlbench.leaderboard.results import Log, read_log
from vlbench.leaderboard.tables import code_note, data_note, listed_seeds, title

FORMATS = ("png", "svg", "pdf")
PNG_DPI = 200
SMALL_SIZE, TITLE_SIZE = 6.0, 8.0
"""In points."""
LETTER_WIDTH, LINE_SPACING = 0.58, 1.3
"""Mean width of a letter, and height of a line, by the size of the font."""
INK, DIM, GREY = "#1a1a1a", "#595959", "#9a9a9a"
MARGIN, LEFT_OF_AXES, BELOW_AXES = 0.08, 0.42, 0.36
"""Inches: around everything; for the numbers and labels of axes."""
TWO_ABREAST = 6.0
"""From this width on, in inches, two axes stand side by side."""
BOLD = "bold:"
"""Begins a legend's entry that explains bold names."""
LINES = (
    ("#0072b2", "-"),
    ("#d55e00", (0, (4, 1.5))),
    ("#009e73", (0, (1, 1))),
    ("#cc79a7", (0, (6, 1.5, 1, 1.5))),
    ("#000000", (0, (2.5, 1.5))),
    ("#e69f00", (0, (8, 2))),
    ("#56b4e9", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
)
"""Colours of Okabe and Ito (2008), each with dashes of its own: as many lines as differ clearly."""
OTHERS: dict[str, Any] = {"color": "#c4c4c4", "linewidth": 0.7}

N_BINS, LOSSES_PER_BIN = 24, 2
"""Most points of a line of losses, each the median of a stretch of steps; least losses in one."""
BAND = "mean of the seeds. Band: the lowest and the highest seed."
NOTES = {
    "loss": f"Loss of training batches: the median of each stretch of steps, then the {BAND}",
    "validation": f"Validation split after each epoch: {BAND}",
}


class Plot(NamedTuple):
    """A figure with a title and a description for screen readers."""

    figure: Figure
    title: str
    description: str


@contextmanager
def styled() -> Iterator[None]:
    """Have matplotlib draw in this style, whatever a `matplotlibrc` says; a decorator too."""
    with matplotlib.rc_context(_style()):
        yield


@cache
def _style() -> Any:
    return matplotlib.rc_params_from_file(Path(__file__).with_suffix(".mplstyle"))


class Block(NamedTuple):
    """One board's part of a figure: a title, axes, a legend below them, and notes."""

    title: str
    n_axes: int
    axes_height: float
    """Inches."""
    legend: Sequence[Line2D]
    notes: Sequence[str]


def draw_blocks(blocks: Sequence[Block], width: float) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure `width` inches wide, blocks below each other, and the axes of each block.

    Everything is laid out in inches from the top, so that axes are as wide in every plot.
    """
    columns = max(1, int(width // 1.6))  # of a legend
    layouts = []
    for block in blocks:
        heading = _wrapped(block.title, TITLE_SIZE, width)
        notes = "\n".join(_wrapped(note, SMALL_SIZE, width) for note in block.notes)
        abreast = 2 if block.n_axes > 1 and width >= TWO_ABREAST else 1
        step = 0.25 + block.axes_height + BELOW_AXES
        first = 0.12 + _height(heading, TITLE_SIZE)
        legend = first + step * -(-block.n_axes // abreast) + 0.02
        below = legend + 0.135 * -(-len(block.legend) // columns) + 0.08
        height = below + _height(notes, SMALL_SIZE) + 0.2
        layouts.append((block, heading, notes, abreast, step, first, legend, below, height))
    total = sum(layout[-1] for layout in layouts)
    figure = Figure(figsize=(width, total))
    bold: dict[str, Any] = {"fontsize": TITLE_SIZE, "fontweight": "bold", "va": "top"}
    small: dict[str, Any] = {"fontsize": SMALL_SIZE, "color": DIM, "va": "top"}
    axes_by_block: list[list[Axes]] = []
    left, top = MARGIN / width, 0.0
    for block, heading, notes, abreast, step, first, legend, below, height in layouts:
        figure.text(left, 1 - (top + 0.08) / total, heading, **bold)
        figure.text(left, 1 - (top + below) / total, notes, linespacing=LINE_SPACING, **small)
        across = (width - MARGIN) / abreast
        grid = []
        for n in range(block.n_axes):
            row, column = divmod(n, abreast)
            x = (MARGIN + LEFT_OF_AXES + column * across) / width
            y = 1 - (top + first + (row + 1) * step - BELOW_AXES) / total
            size = (across - LEFT_OF_AXES - MARGIN) / width, block.axes_height / total
            grid.append(figure.add_axes((x, y, *size)))
        axes_by_block.append(grid)
        corner = left, 1 - (top + legend) / total
        where: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": corner, "ncols": columns}
        for entry in figure.legend(handles=block.legend, **where).get_texts():
            entry.set_fontweight("bold" if entry.get_text().startswith(BOLD) else "normal")
        top += height
    return figure, axes_by_block


def _wrapped(text: str, size: float, width: float) -> str:
    """Break text into lines that fit `width` inches, by the letters' mean width."""
    return textwrap.fill(text, width=max(20, int((width - 0.2) * 72 / (size * LETTER_WIDTH))))


def _height(text: str, size: float) -> float:
    """Inches that lines of text take."""
    return (text.count("\n") + 1) * size * LINE_SPACING / 72


def log_axis(axis: Axis, label: str) -> None:
    """Have a logarithmic axis, its limits set, show a few round values: 30k, 100k."""
    low, high = axis.get_view_interval()
    locator = LogLocator(subs=(1, 3) if high > 20 * low else (1, 1.5, 2, 3, 5, 7))
    axis.set_ticks([tick for tick in locator.tick_values(low, high) if low <= tick <= high])
    axis.set_minor_locator(NullLocator())
    thousands = EngFormatter(sep="")
    axis.set_major_formatter(lambda value, _: thousands(value) if value > 999 else f"{value:g}")
    axis.set_label_text(label)


def picture_format(file: Path) -> str:
    """Return the format that a file's suffix names; UsageError for any other suffix."""
    suffix = file.suffix.lower().removeprefix(".")
    valid = ", ".join(f".{name}" for name in FORMATS)
    if file.is_dir():
        raise UsageError(f"--out {file}: This is a folder; name a file that ends in {valid}.")
    if suffix not in FORMATS:
        fault = f"The suffix '{file.suffix}' is no picture's" if suffix else "A suffix is missing"
        raise UsageError(f"--out {file}: {fault}; it says the format: {valid}.")
    return suffix


def save(plot: Plot, file: Path) -> None:
    """Write a plot to a file in the format of its suffix."""
    write_out(file, encoded(plot, picture_format(file)))


@styled()
def encoded(plot: Plot, suffix: str) -> bytes:
    """Return a plot in one of FORMATS, with its title and description.

    The same plot gives the same bytes: neither the time nor matplotlib's version is written.
    """
    description = plot.description
    metadata: dict[str, str | None] = {
        "png": {"Software": None, "Description": description},
        "svg": {"Date": None, "Creator": None, "Description": description},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": description},
    }[suffix]
    content = io.BytesIO()
    metadata["Title"] = plot.title
    plot.figure.savefig(content, format=suffix, dpi=PNG_DPI, metadata=metadata)
    return content.getvalue()


class Line(NamedTuple):
    """A curve over seeds."""

    x: Sequence[float]
    """(n,), steps or epochs that all seeds have."""
    values: npt.NDArray[np.float64]
    """(seeds, n)."""


Logs = Mapping[str, Sequence[Log]]
"""The logs of a row's seeds, by label."""


@styled()
def curves(boards: Sequence[Board], folder: Path, quantity: str, width: float = 7.0) -> Plot:
    """Draw `loss` by step or `validation` by epoch of the boards' runs, a line for each row.

    The runs lie in the results folder `folder`.
    """
    drawn, blocks = [], []
    for board in boards:
        logs, absent = read_logs(board, folder)
        panels = curve_panels(board, logs, quantity)
        if not panels:
            continue
        labels = [label for label in logs if any(label in lines for lines in panels.values())]
        looks = _looks(labels, LINES)
        legend = [Line2D([], [], label=label, **look) for label, look in looks.items()]
        notes = [NOTES[quantity]]
        if grey := sorted(labels[len(looks) :]):
            legend.append(Line2D([], [], label="others", **OTHERS))
            notes.append(
                f"In colour: the first {len(looks)} of {len(labels)} methods by average; "
                f"in grey: {', '.join(grey)}. Choose with --method."
            )
        notes += [f"No metrics.jsonl beside the result: {', '.join(absent)}."] if absent else []
        notes.append(f"Seeds: {listed_seeds(board)}.")
        notes += [data_note(board, has_counts=False), code_note(board), *board.notes]
        what = "training loss" if quantity == "loss" else "validation split"
        heading = title(board).replace("test split", what)
        blocks.append(Block(heading, len(panels), 0.28 * width, legend, notes))
        drawn.append((panels, looks))
    if not blocks:
        raise NothingToReport(
            f"{folder}: No run of these has noted a {quantity} (looked for runs/*/metrics.jsonl)."
        )
    figure, axes_by_block = draw_blocks(blocks, width)
    for (panels, looks), grid in zip(drawn, axes_by_block, strict=True):
        for (name, lines), axes in zip(panels.items(), grid, strict=True):
            axes.set_title(name)
            _draw_lines(axes, lines, looks, quantity)
    return Plot(figure, "; ".join(block.title for block in blocks), NOTES[quantity])


def read_logs(board: Board, folder: Path) -> tuple[Logs, list[str]]:
    """Return the logs of the runs that count, and which rows and seeds have none."""
    logs: dict[str, list[Log]] = {}
    absent = []
    for row in board.rows:
        by_seed = {seed: read_log(folder, key) for seed, key in row.runs.items()}
        logs[row.label] = [log for log in by_seed.values() if log]
        if seeds := ", ".join(str(seed) for seed in row.seeds if not by_seed[seed]):
            absent.append(f"{row.label} (seed {seeds})")
    return logs, absent


def curve_panels(board: Board, logs: Logs, quantity: str) -> dict[str, dict[str, Line]]:
    """Return the lines of each pair of axes: of tasks for losses, else of average and metrics."""
    mains = list(board.mains.values())
    names = [*board.mains] if quantity == "loss" else [AVERAGE] * (len(mains) > 1) + mains
    panels: dict[str, dict[str, Line]] = {}
    for name, (label, seeds) in itertools.product(names, logs.items()):
        if quantity == "loss":
            line = _losses(seeds, name)
        else:
            line = _validation(seeds, mains if name == AVERAGE else [name])
        if line:
            panels.setdefault(name, {})[label] = line
    return panels


@styled()
def loss_plot(label: str, logs: Sequence[Log], width: float = 6.0) -> Plot | None:
    """Draw the losses of one row, a line for each task; None where no task has two points."""
    tasks = sorted({task for log in logs for task in log.losses})
    by_task = {task: _losses(logs, task) for task in tasks}
    lines = {task: line for task, line in by_task.items() if line and len(line.x) > 1}
    if not lines:
        return None
    looks = _looks([*lines], itertools.cycle(LINES))
    legend = [Line2D([], [], label=task, **look) for task, look in looks.items()]
    block = Block(f"Training loss of {label}", 1, 0.4 * width, legend, [NOTES["loss"]])
    figure, [[axes]] = draw_blocks([block], width)
    _draw_lines(axes, lines, looks, "loss")
    means = {task: line.values.mean(axis=0) for task, line in lines.items()}
    ends = [f"{task} from {mean[0]:.3g} to {mean[-1]:.3g}" for task, mean in means.items()]
    text = f"Training loss by step, a line for each task: {'; '.join(ends)}."
    return Plot(figure, "Training loss", text)


def _losses(logs: Sequence[Log], task: str) -> Line | None:
    """For each seed the median loss of each stretch of steps, by the stretch's middle."""
    points = [[p for p in log.losses.get(task, ()) if p[1] > 0] for log in logs]  # a log axis
    n_bins = max(1, min([N_BINS, *(len(losses) // LOSSES_PER_BIN for losses in points if losses)]))
    size = max((log.last_step for log in logs), default=0) / n_bins
    curves: list[dict[float, float]] = []
    for losses in points:
        bins: dict[int, list[float]] = {}
        for step, loss in losses:
            bins.setdefault(min(int(step / size), n_bins - 1), []).append(loss)
        curves.append({(n + 0.5) * size: statistics.median(part) for n, part in bins.items()})
    return _line(curves)


def _validation(logs: Sequence[Log], metrics: Sequence[str]) -> Line | None:
    """The mean of the metrics by epoch, where all of them were measured."""
    return _line(
        [
            {
                epoch: statistics.fmean(values[metric] for metric in metrics)
                for epoch, values in log.validations.items()
                if all(metric in values for metric in metrics)
            }
            for log in logs
        ]
    )


def _line(seeds: Sequence[Mapping[float, float]]) -> Line | None:
    """The curves of seeds where all of them have a value."""
    measured = [curve for curve in seeds if curve]
    common = sorted(set.intersection(*map(set, measured))) if measured else []
    values = np.array([[curve[x] for x in common] for curve in measured])
    return Line(common, values) if common else None


def _looks(names: Sequence[str], lines: Any) -> dict[str, dict[str, Any]]:
    """A colour and dashes for as many names as there are lines."""
    return {
        name: {"color": colour, "linestyle": dashes, "linewidth": 1.1}
        for name, (colour, dashes) in zip(names, lines, strict=False)
    }


def _draw_lines(
    axes: Axes, lines: dict[str, Line], looks: Mapping[str, Mapping[str, Any]], quantity: str
) -> None:
    """Means with a band from the lowest to the highest seed; what has no look is grey, behind."""
    dots: dict[str, Any] = {"marker": "o", "markersize": 2.5} if quantity != "loss" else {}
    for name in reversed(lines):
        x, values = lines[name]
        look = {**looks[name], **dots, "zorder": 3} if name in looks else {**OTHERS, "zorder": 2}
        axes.plot(x, values.mean(axis=0), **look)
        if name in looks and len(values) > 1:
            alpha = 0.15 if len(looks) <= 4 else 0.07
            band: dict[str, Any] = {"color": look["color"], "alpha": alpha, "linewidth": 0}
            axes.fill_between(x, values.min(axis=0), values.max(axis=0), zorder=2.5, **band)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step" if quantity == "loss" else "epoch")
    if quantity == "loss":
        axes.set_yscale("log")
        log_axis(axes.yaxis, "loss (log scale)")
    else:
        axes.set_ylabel("%")
