"""The Pareto plot: what methods score against what they cost.

Boards never share axes: what stands on one pair can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import textalloc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlbench.errors import NothingToReport, UsageError, nearest
from vlbench.leaderboard import plots, tables
from vlbench.leaderboard.board import AVERAGE, Board, Row, Stat, is_best
from vlbench.leaderboard.plots import DIM, GREY, INK, Block, Plot, styled
from vlbench.leaderboard.tables import number, title
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
    FLOOR: ("X", GREY, 1.1, ""),
}
"""Family, in the order of the legend -> shape, colour and relative size of its marker, techniques.
Colours of Okabe and Ito (2008), brown for their yellow, which is too pale in grey."""
HEIGHTS = (1.0, 1.3, 1.7)
"""Where names find no room, axes become so much higher."""
MARKER_SIZE = 5.8
NAMES: dict[str, Any] = {
    **{"textsize": 6.2, "linespacing": 1.1, "linecolor": "#8a8a8a", "linewidth": 0.45, "zorder": 5},
    **{"margin": 0.002, "min_distance": 0.004, "max_distance": 0.22, "nbr_candidates": 400},
    **{"draw_all": False, "avoid_crossing_label_lines": True},
}
"""How textalloc places names: distances in shares of the figure."""
LONGEST_DETAIL = 30
"""Characters of what stands below a name: settings, or the weights a row started from."""
SQUASHED = 0.45
"""The least share of the height that rows above the floors get."""
FRONTIER: dict[str, Any] = {"color": INK, "linewidth": 0.9}
FULL: dict[str, Any] = {"color": DIM, "linewidth": 0.8, "linestyle": (0, (4, 2))}
FRONTIER_NOTE = (
    "Frontier: no other method has a mean cost at most as high and a mean score at least as high. "
    "It compares means and is no test; floors, and what is at or below one, are not on it."
)


class Cost(NamedTuple):
    """What a method costs: a column of the results, its stored value times `scale` on an axis."""

    name: str
    title: str
    unit: str
    scale: float
    is_measured: bool
    """Whether it depends on the machine, which the plot then names."""


COSTS = (
    Cost("trainable_parameters", "Trainable parameters", "", 1.0, is_measured=False),
    Cost("adapter_bytes", "Stored size", "KB", 1e-3, is_measured=False),
    Cost("peak_memory_bytes", "Peak memory", "MB", 1e-6, is_measured=True),
    Cost("train_seconds", "Training time", "s", 1.0, is_measured=True),
)


class Point(NamedTuple):
    """One row of a board: mean cost in the unit of the axis, mean score, deviations."""

    row: Row
    family: str
    x: float
    x_std: float
    y: float
    y_std: float
    standing: str
    """`a floor`, `at or below a floor`, or nothing for a row that is better."""
    is_best: bool
    """Best, or not significantly different from the best."""
    is_on_frontier: bool = False


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


def with_metric(boards: Sequence[Board], metric: str) -> list[Board]:
    """Return the boards that have `metric`; UsageError where none has."""
    having = [board for board in boards if any(row.stat(metric).n for row in board.rows)]
    if metric != AVERAGE and not having:
        stats = [name for board in boards for row in board.rows for name in row.stats]
        known = {AVERAGE, *(name for name, part in stats if not part)}
        raise UsageError(f"--metric {metric}: No such metric here. {nearest(metric, known)}")
    return having if metric != AVERAGE else list(boards)


def points(board: Board, cost: Cost, metric: str = AVERAGE) -> tuple[list[Point], dict[str, str]]:
    """Return the rows with a positive cost and a score, and by label why others have no point.

    The frontier is one of means. Floors, and rows at or below one, are not on it.
    """
    metric = scored_by(board, metric)
    drawn: list[Point] = []
    missing: dict[str, str] = {}
    for row in board.rows:
        price = row.costs.get(cost.name) or Stat.of([row.facts[cost.name]])
        score = row.stat(metric)
        if score.mean is None:
            n_scored = sum(row.stat(name).n > 0 for name in board.mains.values())
            tasks = f"{n_scored}/{len(board.mains)} tasks"
            missing[row.label] = tasks if metric == AVERAGE else f"no {metric}"
        elif price.mean is None:
            missing[row.label] = f"no {cost.title.lower()} recorded"
        elif price.mean <= 0:
            missing[row.label] = f"{cost.title.lower()} 0, which a log scale does not have"
        else:
            x, x_std = price.mean * cost.scale, (price.std or 0.0) * cost.scale
            standing = BELOW if metric in row.below_floor else ""
            marks = "a floor" if row.is_floor else standing, is_best(row, metric, board)
            drawn.append(Point(row, family(row), x, x_std, score.mean, score.std or 0.0, *marks))
    front = pareto_frontier([(p.x, p.y) for p in drawn if not p.standing])
    is_on = [not p.standing and (p.x, p.y) in front for p in drawn]
    return [p._replace(is_on_frontier=on) for p, on in zip(drawn, is_on, strict=True)], missing


def pareto_frontier(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the pairs (cost, score) that no other pair beats in one and equals in the other."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(set(pairs), key=lambda pair: (pair[0], -pair[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def scored_by(board: Board, metric: str = AVERAGE) -> str:
    """Return the metric of the vertical axis: a single task's main metric is its average."""
    mains = list(board.mains.values())
    return mains[0] if metric == AVERAGE and len(mains) == 1 else metric


class Panel(NamedTuple):
    """One pair of axes: a board's points for one cost."""

    board: Board
    metric: str
    cost: Cost
    points: Sequence[Point]


@styled()
def pareto(
    boards: Sequence[Board], costs: Sequence[Cost], metric: str = AVERAGE, width: float = 7.0
) -> Plot:
    """Draw each board's scores against each of the costs, on axes of their own."""
    panels = []
    for board in boards:
        drawn = [(cost, points(board, cost, metric)[0]) for cost in costs]
        panels.append([Panel(board, scored_by(board, metric), *part) for part in drawn if part[1]])
    if not any(panels):
        names = ", ".join(cost.name for cost in costs)
        raise NothingToReport(
            f"No method here has both {'an average' if metric == AVERAGE else metric} and {names}: "
            "nothing to draw. `vlbench report` with the same options says what each method has."
        )
    for growth in HEIGHTS:
        figure, n_missing = _draw([*filter(None, panels)], costs, width, growth)
        if not n_missing:
            break
    against = ", ".join(cost.title.lower() for cost in costs)
    what = metric.capitalize() if metric == AVERAGE else metric
    heading = f"{what} against {against}: {'; '.join(map(title, boards))}"
    return Plot(figure, heading, " ".join(_description(panel) for row in panels for panel in row))


def _draw(
    panels: Sequence[Sequence[Panel]], costs: Sequence[Cost], width: float, growth: float
) -> tuple[Figure, int]:
    """The figure, and how many names found no room in it."""
    blocks = []
    for some in panels:
        most = max(len(panel.points) for panel in some)
        across = width if len(some) == 1 else width / 2
        height = growth * min(max(2.4, 0.55 * across, most * 0.38 / across), 1.4 * across)
        heading, notes = title(some[0].board), _notes(some, costs)
        blocks.append(Block(heading, len(some), height, _legend(some), notes))
    figure, axes_by_block = plots.draw_blocks(blocks, width)
    texts: list[Any] = []
    for some, grid in zip(panels, axes_by_block, strict=True):
        limits = _score_limits([point for panel in some for point in panel.points])
        for panel, axes in zip(some, grid, strict=True):
            task = panel.metric.partition(".")[0]
            average = f"Average of {len(panel.board.mains)} tasks"
            of_task = f"{task} {tables.short_metric(panel.metric, task)}"
            axes.set_ylabel(f"{average if task == AVERAGE else of_task} (%)")
            axes.set_ylim(limits)
            texts += _draw_panel(axes, panel)
    if n_missing := texts.count(None):
        note = f"{n_missing} of {len(texts)} names find no room: choose with --method or --width."
        corner = plots.MARGIN / width, 0.1 / figure.get_figheight()
        figure.text(*corner, note, fontsize=plots.SMALL_SIZE, color=DIM)
    return figure, n_missing


def _score_limits(drawn: Sequence[Point]) -> tuple[float, float]:
    """Lowest and highest score on the axis, with deviations.

    Floors, and rows no better than one, stand at the lower edge where they would squash the rest.
    """

    def ends(some: Sequence[Point]) -> tuple[float, float]:
        return min(p.y - p.y_std for p in some), max(p.y + p.y_std for p in some)

    ranked = [point for point in drawn if not point.standing]
    low, high = ends(drawn)
    if len(ranked) > 2 and ends(ranked)[1] - ends(ranked)[0] < SQUASHED * (high - low):
        low, high = ends(ranked)
    room = (high - low) * 0.06 or max(abs(high) * 0.05, 1.0)
    return low - room, high + room


def _draw_panel(axes: Axes, panel: Panel) -> list[Any]:
    """Draw points, lines and names; return the texts, None for each name that finds no room."""
    # names of the frontier and the floors are placed first
    drawn = sorted(panel.points, key=lambda p: (not p.is_on_frontier, not p.row.is_floor, -p.y))
    low, high = axes.get_ylim()
    x = np.array([point.x for point in drawn])
    y = np.array([max(point.y, low + 0.02 * (high - low)) for point in drawn])
    x_std = np.array([point.x_std for point in drawn])
    y_std = np.array([point.y_std for point in drawn])
    left = np.minimum(x_std, x / 2)
    start, end = (x - left).min(), (x + x_std).max()
    room = max((end / start) ** 0.08, 1.12)  # for names
    start, end = start / room, end * room
    axes.set_xscale("log")
    is_inside = np.array([point.y >= low for point in drawn])
    bars: dict[str, Any] = {
        "ecolor": [GREY if point.row.is_floor else DIM for point in drawn if point.y >= low],
        **{"xerr": np.stack([left, x_std])[:, is_inside], "yerr": y_std[is_inside]},
        **{"fmt": "none", "elinewidth": 0.6, "zorder": 2.5},
    }
    axes.errorbar(x[is_inside], y[is_inside], **bars)
    for point, *at in zip(drawn, x, y, strict=True):
        marker = _marker(point.family, point.is_on_frontier, point.standing == BELOW)
        axes.plot(*at, zorder=4 if point.is_on_frontier else 3, clip_on=False, **marker)
    lines = []
    if corners := pareto_frontier([(p.x, p.y) for p in drawn if p.is_on_frontier]):
        steps_x, steps_y = np.repeat(np.array(corners), 2, axis=0).T
        lines.append(([*steps_x[1:], end], [*steps_y]))
        axes.plot(*lines[-1], zorder=2, **FRONTIER)
    if full := _full(panel):
        lines.append(([start, end], full * 2))
        axes.plot(*lines[-1], zorder=1.5, **FULL)
    axes.set_xlim(start, end)
    unit = f"{panel.cost.unit}, " if panel.cost.unit else ""
    plots.log_axis(axes.xaxis, f"{panel.cost.title} ({unit}log scale)")
    look: dict[str, Any] = {
        "fontweight": ["bold" if point.is_best else "normal" for point in drawn],
        "textcolor": [DIM if point.row.is_floor else INK for point in drawn],
    }
    if lines:
        look |= {"x_lines": [line[0] for line in lines], "y_lines": [line[1] for line in lines]}
    names = [_name(point, low) for point in drawn]
    radii = [MARKER_SIZE / 2 * axes.figure.dpi / 72] * len(drawn)  # pixels
    look |= {"x_scatter": x, "y_scatter": y, "scatter_sizes": radii, "text_scatter_sizes": radii}
    return list(textalloc.allocate(axes, x, y, names, **NAMES, **look)[2])


def _full(panel: Panel) -> list[float]:
    """Score of full fine-tuning as its card is; none unless exactly one row is that."""
    scores = [point.y for point in panel.points if point.row.label == "full"]
    return scores if len(scores) == 1 else []


def _name(point: Point, low: float) -> str:
    """The row's name in one or two lines, and its score where that lies below the axes."""
    detail = point.row.details.strip()
    if len(detail) > LONGEST_DETAIL:
        detail = f"{detail[: LONGEST_DETAIL - 1]}…"
    below = f" ↓ {number(point.y)}" if point.y < low else ""
    return f"{point.row.method}{below}" + (f"\n{detail}" if detail else "")


def _marker(family: str, is_on_frontier: bool = False, is_hollow: bool = False) -> dict[str, Any]:
    """Properties of a family's marker."""
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
    """What markers and lines mean, as far as they are drawn."""
    drawn = [point for panel in panels for point in panel.points]
    families = {point.family for point in drawn}
    is_hollow = any(point.standing == BELOW for point in drawn)
    metric = panels[0].metric
    seeds = sorted({point.row.stat(metric).n for point in drawn if point.y_std})
    n_seeds = " to ".join(map(str, dict.fromkeys([seeds[0], seeds[-1]]))) if seeds else ""
    bar: dict[str, Any] = {"marker": "|", "markersize": 7, "color": DIM, "linestyle": "none"}
    entries: list[tuple[str, dict[str, Any], bool]] = [
        *((name, _marker(name), name in families) for name in FAMILIES if name != FLOOR),
        (BELOW, _marker("adapters", is_hollow=True), is_hollow),
        (FLOOR, _marker(FLOOR), FLOOR in families),
        ("frontier of means", FRONTIER, any(point.is_on_frontier for point in drawn)),
        ("full fine-tuning", FULL, any(map(_full, panels))),
        (f"± 1 SD over seeds (n = {n_seeds})", bar, bool(seeds)),
        (
            f"{plots.BOLD} best or tied",
            {"linestyle": "none"},
            any(point.is_best for point in drawn),
        ),
    ]
    return [Line2D([], [], label=label, **look) for label, look, is_drawn in entries if is_drawn]


def _notes(panels: Sequence[Panel], costs: Sequence[Cost]) -> list[str]:
    """How to read the plot, which rows are not in it, and where the numbers come from."""
    board, metric = panels[0][:2]
    drawn = [point for panel in panels for point in panel.points]
    notes = [FRONTIER_NOTE]
    if any(point.y < _score_limits(drawn)[0] for point in drawn):
        notes.append("An arrow and a number beside a name: the point lies below the axes.")
    notes += [tables.AVERAGE_NOTE] if metric == AVERAGE else []
    missing = {f" against {cost.name}": points(board, cost, metric)[1] for cost in costs}
    if all(rows == missing[f" against {costs[0].name}"] for rows in missing.values()):
        missing = {"": missing[f" against {costs[0].name}"]}
    for against, rows in missing.items():
        reasons = ", ".join(f"{label} ({reason})" for label, reason in rows.items())
        count = f"{len(rows)} of {len(board.rows)} methods"
        notes += [f"Not drawn{against}: {count}: {reasons}."] if rows else []
    if any(cost.is_measured for cost in costs):
        devices = tables.counted(run.facts["device"] for run in board.runs if run.is_done)
        notes.append(f"Device: {devices}.")
    notes += [tables.seeds_note(board), tables.data_note(board), tables.code_note(board)]
    return [*notes, *board.notes]


def _description(panel: Panel) -> str:
    """Every point, for readers who do not see the plot."""
    texts = []
    for point in panel.points:
        price = f"{number(point.x, digits=1 if panel.cost.unit else 0)} {panel.cost.unit}".strip()
        text = f"{number(point.y)}{tables.deviation(point.row.stat(panel.metric).std)} at {price}"
        marks = ["on the frontier"] * point.is_on_frontier + [point.standing]
        texts.append(", ".join(filter(None, [f"{point.row.label} {text}", *marks])))
    against = f"{panel.metric} against {panel.cost.title.lower()}"
    return f"{title(panel.board)}, {against}: {'; '.join(texts)}."
