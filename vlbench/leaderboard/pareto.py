"""The Pareto plot: what methods score against what they cost.

Boards never share axes: what stands on one pair can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import textalloc
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vlbench.errors import NothingToReport, UsageError, nearest
from vlbench.leaderboard import plots, tables
from vlbench.leaderboard.board import AVERAGE, Board, Row, Stat, is_best
from vlbench.leaderboard.normalised import NORMALISED
from vlbench.leaderboard.plots import DIM, GREY, INK, Block, Plot, styled
from vlbench.leaderboard.tables import title
from vlbench.techniques import JOINED_BY

FLOOR, COMBINED, OTHER = "floor", "combined", "other technique"
BELOW = "at or below a floor"
FAMILIES: dict[str, tuple[str, str, float, str]] = {
    "adapters": ("o", "#0072b2", 1.0, "adapter compacter hyperformer low_rank_adapter"),
    "VL-PET": ("p", "#56b4e9", 1.0, "vl_pet"),
    "low-rank updates": ("s", "#d55e00", 0.9, "lora"),
    "prompts": ("^", "#009e73", 1.0, "prompt"),
    "some of the weights": ("D", "#e69f00", 0.82, "bitfit frozen"),
    "side network": ("v", "#cc79a7", 1.0, "lst"),
    "tuners of peft": ("P", "#8c510a", 1.1, "peft"),
    "all weights": ("h", "#000000", 1.0, "full"),
    COMBINED: ("*", "#000000", 1.4, ""),
    OTHER: ("<", "#000000", 1.0, ""),
    FLOOR: ("X", GREY, 1.1, "zero_shot"),
}
"""Family, in the order of the legend -> shape, colour and relative size of its marker, techniques.
Colours of Okabe and Ito (2008), brown for their yellow, which is too pale in grey."""
MARKER_SIZE = 5.8
NAMES: dict[str, Any] = {
    **{"textsize": 6.2, "linespacing": 1.1, "linecolor": "#8a8a8a", "linewidth": 0.45, "zorder": 5},
    **{"margin": 0.002, "min_distance": 0.004, "max_distance": 0.22, "nbr_candidates": 400},
    **{"draw_all": False, "avoid_crossing_label_lines": True},
}
"""How textalloc places names: distances in shares of the figure."""
LONGEST_DETAIL = 30
"""Characters of what stands below a name: settings, or the weights a row started from."""
FRONTIER: dict[str, Any] = {"color": INK, "linewidth": 0.9}
FULL: dict[str, Any] = {"color": DIM, "linewidth": 0.8, "linestyle": (0, (4, 2))}
FRONTIER_NOTE = (
    "Frontier: no other method has a mean cost at most as high and a mean score at least as high. "
    "It compares means and is no test; floors, and what is at or below one, are not on it. "
    "Bold: best, or tied with it by test."
)


class Cost(NamedTuple):
    """What a method costs: a column of the results, its stored value times `scale` on an axis."""

    name: str
    title: str
    unit: str
    scale: float


COSTS = (
    Cost("trainable_parameters", "Trainable parameters", "", 1.0),
    Cost("adapter_bytes", "Stored size", "KB", 1e-3),
    Cost("peak_memory_bytes", "Peak memory", "MB", 1e-6),
    Cost("train_seconds", "Training time", "s", 1.0),
)


class Point(NamedTuple):
    """One row of a board: mean cost in the unit of the axis, mean score, deviations."""

    row: Row
    x: float
    x_std: float
    y: float
    y_std: float
    is_below: bool  # at or below a floor, and none itself
    is_best: bool  # or not significantly different from the best
    is_on_frontier: bool = False


class Panel(NamedTuple):
    """One pair of axes: a board's points for one cost."""

    board: Board
    metric: str
    cost: Cost
    points: Sequence[Point]


def family(row: Row) -> str:
    """Return the family of a row's technique; floors are one of their own."""
    technique = str(row.facts["technique"])
    if row.is_floor or JOINED_BY in technique:
        return FLOOR if row.is_floor else COMBINED
    return next((name for name, look in FAMILIES.items() if technique in look[3].split()), OTHER)


def find_costs(name: str) -> tuple[Cost, ...]:
    """Return the cost called `name`; all of them for `all`."""
    costs = tuple(cost for cost in COSTS if name in (cost.name, "all"))
    if not costs:
        known = ["all", *(cost.name for cost in COSTS)]
        raise UsageError(f"--cost {name}: Unknown cost '{name}'. {nearest(name, known)}")
    return costs


def points(board: Board, cost: Cost, metric: str) -> list[Point]:
    """Return the rows with a score and a positive cost, which a log scale has.

    The frontier is one of means. Floors, and rows at or below one, are not on it.
    """
    drawn: list[Point] = []
    for row in board.rows:
        price = row.costs.get(cost.name) or Stat.of([row.facts[cost.name]])
        score = row.stat(metric)
        if score.mean is not None and price.mean:
            x, x_std = price.mean * cost.scale, (price.std or 0.0) * cost.scale
            is_below = metric in row.below_floor and not row.is_floor
            marks = is_below, is_best(row, metric)
            drawn.append(Point(row, x, x_std, score.mean, score.std or 0.0, *marks))
    is_ranked = [not (point.row.is_floor or point.is_below) for point in drawn]
    pairs = [(point.x, point.y) for point in drawn]
    front = pareto_frontier([pair for pair, ranks in zip(pairs, is_ranked, strict=True) if ranks])
    is_on = [ranks and pair in front for pair, ranks in zip(pairs, is_ranked, strict=True)]
    return [p._replace(is_on_frontier=on) for p, on in zip(drawn, is_on, strict=True)]


def pareto_frontier(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the pairs (cost, score) that no other pair beats in one and equals in the other."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(set(pairs), key=lambda pair: (pair[0], -pair[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


@styled()
def pareto(
    boards: Sequence[Board], costs: Sequence[Cost], metric: str = "", width: float = 7.0
) -> Plot:
    """Draw each board's scores against each of the costs, on axes of their own.

    Without a metric, the scores by which the board is sorted.
    """
    blocks, panels = [], []
    for board in boards:
        mains = list(board.mains.values())
        measured = mains[0] if metric == AVERAGE and len(mains) == 1 else metric or board.ranking
        drawn = [Panel(board, measured, cost, points(board, cost, measured)) for cost in costs]
        if drawn := [panel for panel in drawn if panel.points]:
            across = width if len(drawn) == 1 else width / 2
            most = max(len(panel.points) for panel in drawn)
            height = min(max(2.4, 0.55 * across, most * 0.5 / across), 1.4 * across)
            blocks.append(Block(title(board), len(drawn), height, _legend(drawn), _notes(drawn)))
            panels.append(drawn)
    if not panels:
        raise _nothing_to_draw(boards, costs, metric)
    figure, axes_by_block = plots.draw_blocks(blocks, width)
    texts: list[Any] = []
    for panel, axes in zip(chain(*panels), chain(*axes_by_block), strict=True):
        texts += _draw_panel(axes, panel)
    if n_missing := texts.count(None):
        note = f"{n_missing} of {len(texts)} names find no room: choose with --method or --width."
        corner = plots.MARGIN / width, 0.03 / figure.get_figheight()
        figure.text(*corner, note, fontsize=plots.SMALL_SIZE, color=DIM)
    against = ", ".join(cost.title.lower() for cost in costs)
    metric = metric or panels[0][0].metric
    heading = f"{metric[0].upper()}{metric[1:]} against {against}: "
    heading += "; ".join(block.title for block in blocks)
    return Plot(figure, heading, FRONTIER_NOTE)


def _nothing_to_draw(boards: Sequence[Board], costs: Sequence[Cost], metric: str) -> Exception:
    known = {name for board in boards for row in board.rows for name, part in row.stats if not part}
    known |= {AVERAGE, NORMALISED}
    if metric and metric not in known:
        return UsageError(f"--metric {metric}: No such metric here. {nearest(metric, known)}")
    names = ", ".join(cost.name for cost in costs)
    return NothingToReport(
        f"No method here has both {metric or 'a score of all tasks'} and {names}: "
        "nothing to draw. `vlbench report` with the same options says what each method has."
    )


def _draw_panel(axes: Axes, panel: Panel) -> list[Any]:
    """Draw points, lines and names; return the texts, None for each name that finds no room."""
    # names of the frontier and the floors are placed first
    drawn = sorted(panel.points, key=lambda p: (not p.is_on_frontier, not p.row.is_floor, -p.y))
    x, y, x_std, y_std = np.array([(p.x, p.y, p.x_std, p.y_std) for p in drawn]).T
    left = np.minimum(x_std, x / 2)
    start, end = (x - left).min(), (x + x_std).max()
    room = max((end / start) ** 0.08, 1.12)  # for names
    start, end = start / room, end * room
    axes.set_xscale("log")
    bars: dict[str, Any] = {"fmt": "none", "elinewidth": 0.6, "zorder": 2.5}
    bars["ecolor"] = [GREY if point.row.is_floor else DIM for point in drawn]
    axes.errorbar(x, y, xerr=np.stack([left, x_std]), yerr=y_std, **bars)
    for point in drawn:
        look = _marker(family(point.row), point.is_on_frontier, point.is_below)
        axes.plot(point.x, point.y, zorder=4 if point.is_on_frontier else 3, **look)
    lines = []
    if corners := pareto_frontier([(p.x, p.y) for p in drawn if p.is_on_frontier]):
        steps_x, steps_y = np.repeat(np.array(corners), 2, axis=0).T
        lines.append(([*steps_x[1:], end], [*steps_y]))
        axes.plot(*lines[-1], zorder=2, **FRONTIER)
    for full in [point for point in drawn if point.row.label == "full"]:
        lines.append(([start, end], [full.y] * 2))
        axes.plot(*lines[-1], zorder=1.5, **FULL)
    axes.set_xlim(start, end)
    axes.margins(y=0.06)
    task = panel.metric.partition(".")[0]
    names_of = {
        AVERAGE: f"Average of {len(panel.board.mains)} tasks (%)",
        NORMALISED: "Normalised score: 0 floor, 100 full",
    }
    of_task = f"{task} {tables.short_metric(panel.metric, task)} (%)"
    axes.set_ylabel(names_of.get(task, of_task))
    unit = f"{panel.cost.unit}, " if panel.cost.unit else ""
    plots.log_axis(axes.xaxis, f"{panel.cost.title} ({unit}log scale)")
    radii = [MARKER_SIZE / 2 * axes.figure.dpi / 72] * len(drawn)  # pixels
    names: dict[str, Any] = {
        "fontweight": ["bold" if point.is_best else "normal" for point in drawn],
        "textcolor": [DIM if point.row.is_floor else INK for point in drawn],
        **{"x_scatter": x, "y_scatter": y, "scatter_sizes": radii, "text_scatter_sizes": radii},
    }
    if lines:
        names["x_lines"], names["y_lines"] = zip(*lines, strict=True)
    return list(textalloc.allocate(axes, x, y, [*map(_name, drawn)], **NAMES, **names)[2])


def _name(point: Point) -> str:
    detail = point.row.details.strip()
    if len(detail) > LONGEST_DETAIL:
        detail = f"{detail[: LONGEST_DETAIL - 1]}…"
    return "\n".join(filter(None, [point.row.method, detail]))


def _marker(family: str, is_on_frontier: bool = False, is_hollow: bool = False) -> dict[str, Any]:
    shape, colour, size = FAMILIES[family][:3]
    return {
        "marker": shape,
        "markersize": MARKER_SIZE * size,
        "markerfacecolor": "#ffffff" if is_hollow else colour,
        "markeredgecolor": INK,
        "markeredgewidth": 1.1 if is_on_frontier else 0.8 if is_hollow else 0.4,
        "linestyle": "none",
    }


def _legend(panels: Sequence[Panel]) -> list[Line2D]:
    drawn = [point for panel in panels for point in panel.points]
    families = {family(point.row) for point in drawn}
    looks = {name: _marker(name) for name in FAMILIES if name in families}
    if any(point.is_below for point in drawn):
        looks[BELOW] = _marker("adapters", is_hollow=True)
    if any(point.is_on_frontier for point in drawn):
        looks["frontier of means"] = FRONTIER
    if any(point.row.label == "full" for point in drawn):
        looks["full fine-tuning"] = FULL
    if any(point.y_std for point in drawn):
        bar = {"marker": "|", "markersize": 7, "color": DIM, "linestyle": "none"}
        looks["± 1 SD over seeds"] = bar
    return [Line2D([], [], label=label, **look) for label, look in looks.items()]


def _notes(panels: Sequence[Panel]) -> list[str]:
    board, metric = panels[0][:2]
    notes = [FRONTIER_NOTE, *[tables.AVERAGE_NOTE] * (metric == AVERAGE)]
    notes += tables.ruler_notes(board) * (metric == NORMALISED)
    for panel in panels:
        drawn = {point.row.label for point in panel.points}
        if missing := ", ".join(row.label for row in board.rows if row.label not in drawn):
            cost = panel.cost.title.lower()
            notes.append(f"Not drawn, as they have no {metric} or no {cost}: {missing}.")
    devices = tables.counted(run.facts["device"] for run in board.runs if run.is_done)
    notes += [f"Device: {devices}.", tables.seeds_note(board)]
    notes += [tables.data_note(board), tables.code_note(board)]
    return [*notes, *board.notes]
