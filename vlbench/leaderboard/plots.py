"""How plots look, how they are laid out and written to files; the plots of training curves."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from vlbench.errors import NothingToReport, UsageError
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.results import Log, read_log
from vlbench.leaderboard.tables import code_note, data_note, listed_seeds, title
from vlbench.runs.packed import stored_run

FORMATS = ("png", "svg", "pdf")
SMALL_SIZE, TITLE_SIZE = 6.0, 8.0
"""In points."""
LETTER_WIDTH, LINE_SPACING = 0.58, 1.3
"""Mean width of a letter, and height of a line, by the size of the font."""
INK, DIM, GREY = "#1a1a1a", "#595959", "#9a9a9a"
MARGIN, LEFT_OF_AXES, BELOW_AXES = 0.08, 0.42, 0.36
"""Inches: around everything; for the numbers and labels of axes."""
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
N_BINS = 24  # most points of a line of losses, each the median of a stretch of at least two steps
CURVES_NOTE = (
    "Loss of training batches: the median of each stretch of steps, then the mean of the seeds. "
    "Band: the lowest and the highest seed."
)


class Plot(NamedTuple):
    """A figure with a title and a description for screen readers."""

    figure: Figure
    title: str
    description: str


_STYLE: Any = matplotlib.rc_params_from_file(Path(__file__).with_suffix(".mplstyle"))
styled = partial(matplotlib.rc_context, _STYLE)
"""Has matplotlib draw in this style, whatever a `matplotlibrc` says; a decorator too."""


class Block(NamedTuple):
    """One board's part of a figure: a title, axes, a legend below them, and notes."""

    title: str
    n_axes: int
    axes_height: float  # inches
    legend: Sequence[Line2D]
    notes: Sequence[str]


def draw_blocks(blocks: Sequence[Block], width: float) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure `width` inches wide, blocks below each other, and the axes of each block.

    Everything is laid out in inches, from the lower edge up, so that axes are as wide in all plots.
    """
    figure = Figure(figsize=(width, 1))
    inches = figure.dpi_scale_trans
    n_columns = max(1, int(width // 1.6))  # of a legend
    boxes: list[list[tuple[float, float, float, float]]] = []
    top = 0.0
    for block in reversed(blocks):
        top += _write(figure, "\n".join(block.notes), top + 0.12, SMALL_SIZE, color=DIM) + 0.22
        corner: dict[str, Any] = {"bbox_to_anchor": (MARGIN, top), "bbox_transform": inches}
        figure.legend(handles=block.legend, loc="lower left", ncols=n_columns, **corner)
        top += 0.135 * -(-len(block.legend) // n_columns) + 0.02
        abreast = min(block.n_axes, 2, int(width // 3))
        across, step = (width - MARGIN) / abreast, 0.25 + block.axes_height + BELOW_AXES
        n_rows = -(-block.n_axes // abreast)
        boxes.append([])
        for row, column in (divmod(n, abreast) for n in range(block.n_axes)):
            x = MARGIN + LEFT_OF_AXES + column * across
            y = top + (n_rows - 1 - row) * step + BELOW_AXES
            boxes[-1].append((x, y, across - LEFT_OF_AXES - MARGIN, block.axes_height))
        top += n_rows * step
        top += _write(figure, block.title, top, TITLE_SIZE, fontweight="bold") + 0.1
    figure.set_size_inches(width, top)
    return figure, [
        [figure.add_axes((x / width, y / top, w / width, h / top)) for x, y, w, h in some]
        for some in reversed(boxes)
    ]


def _write(figure: Figure, text: str, y: float, size: float, **look: Any) -> float:
    """Write wrapped text from `y` inches up; return its height in inches."""
    letters = max(20, int((figure.get_figwidth() - 0.2) * 72 / (size * LETTER_WIDTH)))
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, letters)]
    look |= {"fontsize": size, "linespacing": LINE_SPACING, "va": "bottom"}
    figure.text(MARGIN, y, "\n".join(lines), transform=figure.dpi_scale_trans, **look)
    return len(lines) * size * LINE_SPACING / 72


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
    if suffix not in FORMATS or file.is_dir():
        valid = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"--out {file}: Name a file; its suffix says the format: {valid}.")
    return suffix


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
    plot.figure.savefig(content, format=suffix, dpi=200, metadata=metadata | {"Title": plot.title})
    return content.getvalue()


@styled()
def curves(boards: Sequence[Board], folder: Path, width: float = 7.0) -> Plot:
    """Draw the training losses of the boards' runs by step, a line for each row.

    The runs lie in the results folder `folder`.
    """
    drawn, blocks = [], []
    for board in boards:
        logs = read_logs(board, folder)
        rows = [label for label, seeds in logs.items() if any(log.losses for log in seeds)]
        shown = {label: logs[label] for label in rows[: len(LINES)]}
        panels = curve_panels(board, shown)
        if not panels:
            continue
        looks: dict[str, dict[str, Any]] = {
            label: {"color": colour, "linestyle": dashes, "linewidth": 1.1}
            for label, (colour, dashes) in zip(shown, LINES, strict=False)
        }
        legend = [Line2D([], [], label=label, **look) for label, look in looks.items()]
        notes = [CURVES_NOTE]
        if len(rows) > len(shown):
            note = f"Drawn: the first {len(shown)} of {len(rows)} methods. Choose with --method."
            notes.append(note)
        if absent := [row.label for row in board.rows if len(logs[row.label]) < len(row.runs)]:
            notes.append(f"No metrics.jsonl beside some results: {', '.join(absent)}.")
        notes.append(f"Seeds: {listed_seeds(board)}.")
        notes += [data_note(board, has_counts=False), code_note(board), *board.notes]
        heading = title(board).replace("test split", "training loss")
        blocks.append(Block(heading, len(panels), 0.28 * width, legend, notes))
        drawn.append((panels, looks))
    if not blocks:
        raise NothingToReport(
            f"{folder}: No run of these has noted a loss (looked for runs/*/metrics.jsonl)."
        )
    figure, axes_by_block = draw_blocks(blocks, width)
    for (panels, looks), grid in zip(drawn, axes_by_block, strict=True):
        for (task, lines), axes in zip(panels.items(), grid, strict=True):
            axes.set_title(task)
            _draw_lines(axes, lines, looks)
    return Plot(figure, "; ".join(block.title for block in blocks), CURVES_NOTE)


def read_logs(board: Board, folder: Path) -> dict[str, list[Log]]:
    """Return the logs of the runs that count, as far as they have one, by the row's label."""
    return {
        row.label: [log for key in row.runs.values() if (log := read_log(stored_run(folder, key)))]
        for row in board.rows
    }


def curve_panels(
    board: Board, logs: Mapping[str, Sequence[Log]]
) -> dict[str, dict[str, pd.DataFrame]]:
    """Return the lines of each task's axes, by row.

    A line has a row for each stretch of steps that all seeds have, and a column for each seed.
    """
    panels: dict[str, dict[str, pd.DataFrame]] = {}
    for task, (label, seeds) in itertools.product(board.mains, logs.items()):
        if len(line := _losses(seeds, task)):
            panels.setdefault(task, {})[label] = line
    return panels


def _losses(logs: Sequence[Log], task: str) -> pd.DataFrame:
    """For each seed the median loss of each stretch of steps, by the stretch's middle."""
    seeds = [pd.Series(dict(log.losses.get(task, ())), dtype=float) for log in logs]
    seeds = [losses[losses > 0] for losses in seeds]  # a log axis
    if not (seeds := [losses for losses in seeds if len(losses)]):
        return pd.DataFrame()
    n_bins = max(1, min(N_BINS, *(len(losses) // 2 for losses in seeds)))
    size = max(p[0] for log in logs for points in log.losses.values() for p in points) / n_bins

    def middle(step: float) -> float:
        return float((min(step // size, n_bins - 1) + 0.5) * size)

    return pd.concat([s.groupby(middle).median() for s in seeds], axis=1, join="inner")


def _draw_lines(
    axes: Axes, lines: Mapping[str, pd.DataFrame], looks: Mapping[str, Mapping[str, Any]]
) -> None:
    for label in reversed([*lines]):
        line, look = lines[label], looks[label]
        axes.plot(line.index, line.mean(axis=1), zorder=3, **look)
        band: dict[str, Any] = {"color": look["color"], "alpha": 0.1, "linewidth": 0}
        axes.fill_between(line.index, line.min(axis=1), line.max(axis=1), zorder=2.5, **band)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step")
    axes.set_yscale("log")
    log_axis(axes.yaxis, "loss (log scale)")
