"""The plot of how steps grow: axes a question, a line a method, a band between the quartiles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from measure import Measured

from vlbench.leaderboard.plots import LINES, Block, Plot, draw_blocks, save, styled

WIDTH = 7.0
TITLE = "A training step on CLIP-BART as batch, text and number of tasks grow"
NOTE = (
    "Seconds of a step by those of the first point of the same line and round: medians of rounds, "
    f"and their quartiles as bands. {os.cpu_count()} cores of a CPU, random weights."
)


class Growth(NamedTuple):
    """What steps take by one thing that grows."""

    name: str
    found: Mapping[str, Mapping[int, Measured]]
    """By method and number."""


def save_picture(growths: Sequence[Growth], file: Path) -> None:
    """Draw them beside each other."""
    lines = [
        Line2D([], [], label=method, color=colour, linestyle=dashes, linewidth=1.1)
        for method, (colour, dashes) in zip(growths[0].found, LINES, strict=False)
    ]
    with styled():
        figure, [axes] = draw_blocks([Block(TITLE, len(growths), 1.8, lines, [NOTE])], WIDTH)
        for growth, one in zip(growths, axes, strict=True):
            draw(one, growth, lines)
        save(Plot(figure, TITLE, " ".join(map(told, growths))), file)


def draw(axes: Axes, growth: Growth, lines: Sequence[Line2D]) -> None:
    """One pair of axes, from zero, so that what does not grow is a level line."""
    for points, line in zip(growth.found.values(), lines, strict=True):
        drawn = list(points.values())
        look = {"color": line.get_color(), "linestyle": line.get_linestyle(), "linewidth": 1.1}
        axes.plot(list(points), [each.ratio for each in drawn], marker="o", markersize=2.5, **look)
        low, high = [each.low for each in drawn], [each.high for each in drawn]
        axes.fill_between(list(points), low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.set_xlim(0, None)
    axes.set_ylim(0, None)
    axes.set_xlabel(growth.name, labelpad=2)
    axes.set_ylabel("time of a step, ratio", labelpad=2)


def told(growth: Growth) -> str:
    """The plot's numbers in words."""
    lines = (
        f"{method} " + ", ".join(f"{each.ratio:.2f} at {number}" for number, each in points.items())
        for method, points in growth.found.items()
    )
    return f"By {growth.name}: {'; '.join(lines)}."
