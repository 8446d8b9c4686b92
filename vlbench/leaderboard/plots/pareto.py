"""The Pareto picture: what methods score against what they cost, a board at a time.

Boards never share axes: what stands on one pair can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from vlbench.errors import NothingToReport
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.numbers import short_metric
from vlbench.leaderboard.plots.captions import pareto_notes
from vlbench.leaderboard.plots.costs import Cost
from vlbench.leaderboard.plots.frame import frame, score_limits
from vlbench.leaderboard.plots.grid import Grid, grid, rows
from vlbench.leaderboard.plots.page import (
    POINTS,
    Band,
    Entry,
    heading,
    legend,
    page,
    small_print,
    space,
)
from vlbench.leaderboard.plots.panel import (
    BAR,
    FRONTIER,
    MOST_NAMES,
    REFERENCE,
    Panel,
    draw_panel,
    panel,
    sign,
)
from vlbench.leaderboard.plots.points import points, scored_by, with_metric
from vlbench.leaderboard.plots.technique_families import FLOOR, ORDER
from vlbench.leaderboard.sheets import title
from vlbench.leaderboard.summary import Board

WIDTH = 7.0
"""Inches: a page of a paper, or a README. A column is 3.4."""
LOWEST, HIGHEST = 0.55, 1.4
"""Height of axes by their width."""
LOW = 2.4
"""Inches: no axes are lower."""
NAME_AREA = 0.38
"""Square inches that a name and what is around it take."""
GROWTH = (1.0, 1.2, 1.4, 1.7)
"""Where names find no room, axes become so much higher."""


@dataclass(frozen=True)
class _Block:
    """A board's part of the picture."""

    board: Board
    metric: str
    panels: Sequence[Panel]
    places: Grid


def pareto(
    boards: Sequence[Board], costs: Sequence[Cost], metric: str = AVERAGE, width: float = WIDTH
) -> Figure:
    """Each board's scores against each of the costs, on axes of their own."""
    blocks = [
        block
        for board in with_metric(boards, metric)
        if (block := _block(board, costs, scored_by(board, metric), width)).panels
    ]
    if not blocks:
        names = ", ".join(cost.name for cost in costs)
        raise NothingToReport(
            f"No method here has both {'an average' if metric == AVERAGE else metric} and {names}: "
            "nothing to draw. `vlbench report` with the same options says what each method has."
        )
    bands: list[Band] = []
    for block in blocks:
        bands += [space(0.2)] if bands else []
        bands += _bands(block, costs, width)
    return page(bands, width)


def _block(board: Board, costs: Sequence[Cost], metric: str, width: float) -> _Block:
    """The axes of a board, as high as their names need."""
    shown = [(cost, points(board, cost, metric)) for cost in costs]
    there = [(cost, each) for cost, each in shown if each]
    places = grid(len(there), width)
    wide = places.wide
    if not there:
        return _Block(board, metric, [], places)
    low, high = score_limits([point for _, each in there for point in each])
    most = max(len(each) for _, each in there)
    tall = max(LOW, LOWEST * wide, min(most * NAME_AREA / wide, HIGHEST * wide))
    made: list[Panel] = []
    for growth in GROWTH:
        height = tall * growth * POINTS
        made = [
            panel(cost, each, frame(each, low, high, wide * POINTS, height)) for cost, each in there
        ]
        if all(each.is_named or len(each.points) > MOST_NAMES for each in made):
            break
    return _Block(board, metric, made, places)


def _bands(block: _Block, costs: Sequence[Cost], width: float) -> list[Band]:
    height_label = _height_label(block)
    notes = [*_names_notes(block.panels), *pareto_notes(block.board, costs, block.metric)]
    return [
        heading(title(block.board), width),
        space(0.06),
        *rows(
            block.places,
            [partial(draw_panel, each, height_label) for each in block.panels],
            block.panels[0].frame.height / POINTS,
        ),
        space(0.04),
        legend(_entries(block.panels), width),
        space(0.05),
        small_print(notes, width),
    ]


def _names_notes(panels: Sequence[Panel]) -> list[str]:
    """What to say of names that found no room, and of points below the axes."""
    most = max(len(each.points) for each in panels)
    missing = max(len(each.points) - len(each.names) for each in panels)
    notes = []
    if missing:
        notes.append(
            f"{missing} of {most} names find no room: choose with --method, or a larger --width."
        )
    if any(each.frame.is_below(point) for each in panels for point in each.points):
        notes.append("An arrow and a number beside a name: the point lies below the axes.")
    return notes


def _height_label(block: _Block) -> str:
    """What the height of a point is."""
    if block.metric == AVERAGE:
        return f"Average of {len(block.board.mains)} tasks (%)"
    task = block.metric.partition(".")[0]
    return f"{task} {short_metric(block.metric, task)} (%)"


def _entries(panels: Sequence[Panel]) -> list[Entry]:
    """What markers and lines mean, as far as they are in the picture."""
    shown = [point for each in panels for point in each.points]
    families = {point.family for point in shown}
    entries = [Entry(name, sign(name)) for name in ORDER if name in families and name != FLOOR]
    if any(point.is_below_floor and not point.row.is_floor for point in shown):
        entries.append(Entry("hollow: at or below a floor", sign("adapters", is_hollow=True)))
    if FLOOR in families:
        entries.append(Entry("floor", sign(FLOOR)))
    if any(point.is_on_frontier for point in shown):
        entries.append(Entry("frontier of means", FRONTIER, is_line=True))
    if any(each.reference is not None for each in panels):
        entries.append(Entry("full fine-tuning", REFERENCE, is_line=True))
    seeds = sorted({point.score.n for point in shown if point.score.std})
    if seeds:
        n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        bar = BAR | {"marker": "|", "markersize": 7, "linestyle": "none"}
        entries.append(Entry(f"± 1 standard deviation over seeds (n = {n})", bar))
    if any(point.is_best for point in shown):
        entries.append(Entry("bold: best, or not told from it", {"linestyle": "none"}, False, True))
    return entries
