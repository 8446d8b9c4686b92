"""The plot of a search: score against learning rate, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.lines import Line2D

from vlbench.leaderboard import plots
from vlbench.leaderboard.plots import GREY, LINES, Block, Plot, styled

NOTE = "A point is a learning rate: the mean of its seeds. Large: the rate that is chosen."


class Line(NamedTuple):
    """The trials of a method, from low to high rates."""

    rates: Sequence[float]
    scores: Sequence[float]
    best: float


@styled()
def rates(
    panels: Mapping[str, Mapping[str, Line]], notes: Sequence[str], width: float = 7.0
) -> Plot:
    """Draw the lines of each search, by its title; the best seven methods have colours."""
    blocks, drawn = [], []
    for heading, lines in panels.items():
        names = sorted(lines, key=lambda name: -max(lines[name].scores))
        looks: dict[str, dict[str, Any]] = {
            name: {"color": colour, "linestyle": dashes, "linewidth": 1.1}
            for name, (colour, dashes) in zip(names, LINES, strict=False)
        }
        legend = [Line2D([], [], label=name, **look) for name, look in looks.items()]
        others = ", ".join(names[len(LINES) :])
        more = [f"Grey: {others}. Choose with --method."] * bool(others)
        blocks.append(Block(heading, 1, 0.5 * width, legend, [NOTE, *more, *notes]))
        drawn.append(
            {
                name: (lines[name], looks.get(name, {"color": GREY, "linewidth": 0.7}))
                for name in names
            }
        )
    figure, axes_by_block = plots.draw_blocks(blocks, width)
    for shown, (axes,) in zip(drawn, axes_by_block, strict=True):
        for line, look in shown.values():
            axes.plot(line.rates, line.scores, marker="o", markersize=2.5, **look)
            at = line.rates.index(line.best)
            axes.plot(line.best, line.scores[at], marker="o", markersize=5.5, color=look["color"])
        axes.set_xscale("log")
        axes.set_ylabel("Validation score")
        plots.log_axis(axes.xaxis, "Learning rate (log scale)")
    return Plot(figure, "; ".join(panels), NOTE)
