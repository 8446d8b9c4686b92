"""The picture of how steps grow: axes a question, a line a method, a band between the quartiles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from measure import Measured

from vlbench.leaderboard.plots.curves import LOOKS
from vlbench.leaderboard.plots.grid import BESIDE, Grid, rows
from vlbench.leaderboard.plots.page import (
    MARGIN,
    Entry,
    Look,
    add_axes,
    heading,
    legend,
    page,
    small_print,
    space,
)
from vlbench.leaderboard.plots.save import save
from vlbench.leaderboard.plots.style import styled
from vlbench.leaderboard.scales import linear_ticks, short

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
    """Draw them side by side."""
    step = (WIDTH - MARGIN) / len(growths)
    places = Grid(len(growths), step, step - BESIDE - MARGIN)
    looks = {
        method: {"color": colour, "linestyle": dashes, "linewidth": 1.1}
        for method, (colour, dashes) in zip(growths[0].found, LOOKS, strict=False)
    }
    bands = [
        heading(TITLE, WIDTH),
        space(0.06),
        *rows(places, [partial(draw, places.wide, looks, each) for each in growths], places.wide),
        space(0.04),
        legend([Entry(method, look, is_line=True) for method, look in looks.items()], WIDTH),
        space(0.05),
        small_print([NOTE], WIDTH),
    ]
    with styled():
        save(page(bands, WIDTH), file, TITLE, " ".join(map(told, growths)))


def draw(
    side: float,
    looks: Mapping[str, Look],
    growth: Growth,
    figure: Figure,
    left: float,
    bottom: float,
) -> None:
    """One pair of axes, from zero, so that what does not grow is a level line."""
    axes = add_axes(figure, left, bottom, side, side)
    for method, points in growth.found.items():
        drawn = list(points.values())
        axes.plot(
            list(points),
            [each.ratio for each in drawn],
            marker="o",
            markersize=2.5,
            **looks[method],
        )
        low, high = [each.low for each in drawn], [each.high for each in drawn]
        colour = looks[method]["color"]
        axes.fill_between(list(points), low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlim(0, None)
    axes.set_ylim(0, None)
    across, up = (linear_ticks(0, end, 5) for end in (axes.get_xlim()[1], axes.get_ylim()[1]))
    axes.set_xticks(across, [short(each) for each in across])
    axes.set_yticks(up, [short(each) for each in up])
    axes.set_xlabel(growth.name, labelpad=2)
    axes.set_ylabel("time of a step, ratio", labelpad=2)


def told(growth: Growth) -> str:
    """The picture's numbers in words."""
    lines = (
        f"{method} " + ", ".join(f"{each.ratio:.2f} at {number}" for number, each in points.items())
        for method, points in growth.found.items()
    )
    return f"By {growth.name}: {'; '.join(lines)}."
