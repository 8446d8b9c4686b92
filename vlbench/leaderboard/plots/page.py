"""A picture from top to bottom: bands of text, axes and legends, each as high as it must be.

Everything is placed in inches of the paper, so that it stands alike in every format and resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlbench.leaderboard.plots.lettering import cut, text_width, wrapped
from vlbench.leaderboard.plots.style import (
    DIM,
    INK,
    LINE_SPACING,
    SMALL_SIZE,
    TITLE_SIZE,
)

POINTS = 72.0
"""To the inch."""
MARGIN = 0.08
KEY, GAP = 16.0, 12.0
"""Of a legend's entry: the width of its sign, and what is clear behind it. In points."""


Look = dict[str, Any]
"""Properties of a line, as matplotlib names them."""


class Band(NamedTuple):
    """A strip of the picture: its height in inches, and what draws it above a given bottom."""

    height: float
    draw: Callable[[Figure, float], None]


class Entry(NamedTuple):
    """An entry of a legend: what it says, and its sign as a line with a marker."""

    text: str
    sign: Look
    is_line: bool = False
    is_bold: bool = False


def page(bands: Sequence[Band], width: float) -> Figure:
    """The picture that the bands make, `width` inches wide."""
    height = 2 * MARGIN + sum(band.height for band in bands)
    figure = Figure(figsize=(width, height))
    top = height - MARGIN
    for band in bands:
        top -= band.height
        band.draw(figure, top)
    return figure


def space(height: float) -> Band:
    """Nothing."""
    return Band(height, lambda figure, bottom: None)


def heading(text: str, width: float) -> Band:
    """A title over all of the width."""
    lines = wrapped(text, TITLE_SIZE, _room(width), is_bold=True)
    return _text(lines, TITLE_SIZE, INK, "bold")


def small_print(texts: Sequence[str], width: float) -> Band:
    """Notes, each beginning a line."""
    lines = [line for text in texts for line in wrapped(text, SMALL_SIZE, _room(width))]
    return _text(lines, SMALL_SIZE, DIM, "normal")


def legend(entries: Sequence[Entry], width: float) -> Band:
    """Entries one after the other, in as many lines as they need."""
    shown = [
        entry._replace(text=cut(entry.text, SMALL_SIZE, _room(width) - KEY, entry.is_bold))
        for entry in entries
    ]
    places: list[tuple[float, int]] = []
    left, line = 0.0, 0
    for entry in shown:
        wide = KEY + text_width(entry.text, SMALL_SIZE, entry.is_bold)
        if left and left + wide > _room(width):
            left, line = 0.0, line + 1
        places.append((left, line))
        left += wide + GAP
    step = SMALL_SIZE * 1.6 / POINTS
    height = (line + 1) * step

    def draw(figure: Figure, bottom: float) -> None:
        for entry, (left, line) in zip(shown, places, strict=True):
            middle = bottom + height - (line + 0.5) * step
            _draw_entry(figure, entry, MARGIN + left / POINTS, middle)

    return Band(height, draw)


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place of the paper, in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _room(width: float) -> float:
    """The points of a line of text."""
    return (width - 2 * MARGIN) * POINTS


def _text(lines: Sequence[str], size: float, colour: str, weight: str) -> Band:
    step = size * LINE_SPACING / POINTS

    def draw(figure: Figure, bottom: float) -> None:
        for number, line in enumerate(reversed(lines)):
            figure.text(
                MARGIN,
                bottom + (number + 0.5) * step,
                line,
                fontsize=size,
                color=colour,
                fontweight=weight,
                va="center",
                transform=figure.dpi_scale_trans,
            )

    return Band(len(lines) * step, draw)


def _draw_entry(figure: Figure, entry: Entry, left: float, middle: float) -> None:
    key = KEY / POINTS
    xs = [left, left + 0.75 * key] if entry.is_line else [left + 0.35 * key]
    sign = Line2D(xs, [middle] * len(xs), transform=figure.dpi_scale_trans)
    sign.set(**entry.sign)
    figure.add_artist(sign)
    figure.text(
        left + key,
        middle,
        entry.text,
        fontsize=SMALL_SIZE,
        fontweight="bold" if entry.is_bold else "normal",
        va="center",
        transform=figure.dpi_scale_trans,
    )
