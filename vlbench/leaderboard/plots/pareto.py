"""The Pareto plot: what methods score against what they cost, a board at a time.

Boards never share axes: what stands on one pair can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import textalloc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlbench.errors import NothingToReport
from vlbench.leaderboard.board import AVERAGE, Board
from vlbench.leaderboard.plots.points import (
    FAMILY_ORDER,
    FLOOR,
    Cost,
    Point,
    left_out,
    points,
    scored_by,
    with_metric,
)
from vlbench.leaderboard.plots.style import (
    BOLD,
    DIM,
    FLOOR_GREY,
    INK,
    MARGIN,
    MARKERS,
    PAPER,
    SMALL_SIZE,
    Block,
    draw_blocks,
    log_axis,
)
from vlbench.leaderboard.tables import (
    AVERAGE_NOTE,
    counted,
    deviation,
    ground_notes,
    number,
    seeds_note,
    short_metric,
    title,
)

WIDTH = 7.0
"""Inches: a page of a paper, or a README. A column is 3.4."""
HEIGHTS = (1.0, 1.3, 1.7)
"""Where names find no room, axes become so much higher."""
MARKER_SIZE = 5.8
NAME_SIZE = 6.2
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


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a board's points for one cost."""

    cost: Cost
    points: Sequence[Point]
    low: float
    """Lowest score on the axis."""
    high: float

    def x(self, point: Point) -> float:
        """Cost of a point, in the unit of the axis."""
        return point.x * self.cost.scale

    def y(self, point: Point) -> float:
        """Score of a point; one below the axis stands at its edge."""
        return max(point.y, self.low + 0.02 * (self.high - self.low))

    @property
    def reference(self) -> float | None:
        """Score of full fine-tuning as its card is; None unless exactly one row is that."""
        scores = [point.y for point in self.points if point.row.label == "full"]
        return scores[0] if len(scores) == 1 else None

    @property
    def cost_limits(self) -> tuple[float, float]:
        """Least and highest cost on the axis, with room for names beside them."""
        ends = [(self.x(p), (p.cost.std or 0.0) * self.cost.scale) for p in self.points]
        least = min(max(cost - std, cost / 2) for cost, std in ends)
        most = max(cost + std for cost, std in ends)
        room = max((most / least) ** 0.08, 1.12)
        return least / room, most * room

    @property
    def frontier(self) -> tuple[list[float], list[float]]:
        """Costs and scores of the frontier's points, cheapest first."""
        ends = sorted((self.x(p), p.y) for p in self.points if p.is_on_frontier)
        return [x for x, _ in ends], [y for _, y in ends]


def pareto(
    boards: Sequence[Board], costs: Sequence[Cost], metric: str = AVERAGE, width: float = WIDTH
) -> Figure:
    """Draw each board's scores against each of the costs, on axes of their own."""
    panels = {
        n: _panels(board, costs, metric) for n, board in enumerate(with_metric(boards, metric))
    }
    panels = {n: shown for n, shown in panels.items() if shown}
    if not panels:
        names = ", ".join(cost.name for cost in costs)
        raise NothingToReport(
            f"No method here has both {'an average' if metric == AVERAGE else metric} and {names}: "
            "nothing to draw. `vlbench report` with the same options says what each method has."
        )
    drawn = {n: with_metric(boards, metric)[n] for n in panels}
    best: tuple[Figure, int] | None = None
    for growth in HEIGHTS:
        figure, n_missing = _draw(panels, drawn, costs, metric, width, growth)
        if best is None or n_missing < best[1]:
            best = figure, n_missing
        if not n_missing:
            break
    assert best is not None
    return best[0]


def pareto_title(boards: Sequence[Board], costs: Sequence[Cost], metric: str = AVERAGE) -> str:
    """Say what is drawn against what, and of which boards."""
    against = ", ".join(cost.title.lower() for cost in costs)
    shown = "; ".join(title(board) for board in with_metric(boards, metric))
    return f"{metric.capitalize() if metric == AVERAGE else metric} against {against}: {shown}"


def pareto_text(boards: Sequence[Board], costs: Sequence[Cost], metric: str = AVERAGE) -> str:
    """Describe every point, for readers who do not see the plot."""
    return " ".join(
        f"{title(board)}, {scored_by(board, metric)} against {cost.title.lower()}: "
        + "; ".join(_description(point, cost) for point in points(board, cost, metric))
        + "."
        for board in with_metric(boards, metric)
        for cost in costs
    )


def _panels(board: Board, costs: Sequence[Cost], metric: str) -> list[Panel]:
    """The axes of a board, one for each cost that any row has; scores share their limits."""
    shown = [(cost, points(board, cost, metric)) for cost in costs]
    shown = [(cost, drawn) for cost, drawn in shown if drawn]
    if not shown:
        return []
    low, high = _score_limits([point for _, drawn in shown for point in drawn])
    return [Panel(cost, drawn, low, high) for cost, drawn in shown]


def _score_limits(shown: Sequence[Point]) -> tuple[float, float]:
    """Lowest and highest score drawn, deviations included.

    Floors, and rows no better than one, stand at the lower edge where they would squash the rest.
    """

    def ends(some: Sequence[Point]) -> tuple[float, float]:
        deviations = [point.score.std or 0.0 for point in some]
        lows = [point.y - std for point, std in zip(some, deviations, strict=True)]
        highs = [point.y + std for point, std in zip(some, deviations, strict=True)]
        return min(lows), max(highs)

    rest = [point for point in shown if not point.row.is_floor and not point.is_below_floor]
    low, high = ends(shown)
    if len(rest) > 2 and ends(rest)[1] - ends(rest)[0] < SQUASHED * (high - low):
        low, high = ends(rest)
    room = (high - low) * 0.06 or max(abs(high) * 0.05, 1.0)
    return low - room, high + room


def _draw(
    panels: Mapping[int, Sequence[Panel]],
    boards: Mapping[int, Board],
    costs: Sequence[Cost],
    metric: str,
    width: float,
    growth: float,
) -> tuple[Figure, int]:
    """The figure, and how many names found no room in it."""
    blocks = []
    for n, shown in panels.items():
        most = max(len(panel.points) for panel in shown)
        across = width if len(shown) == 1 else width / 2
        height = growth * min(max(2.4, 0.55 * across, most * 0.38 / across), 1.4 * across)
        notes = _notes(boards[n], shown, costs, metric)
        blocks.append(Block(title(boards[n]), len(shown), height, _legend(shown), notes))
    figure, axes_by_block = draw_blocks(blocks, width)
    placed = []
    for (n, shown), grid in zip(panels.items(), axes_by_block, strict=True):
        for panel, axes in zip(shown, grid, strict=True):
            _draw_panel(axes, panel, _score_label(boards[n], scored_by(boards[n], metric)))
            placed.append((panel, axes))
    n_missing = sum(_draw_names(axes, panel) for panel, axes in placed)
    if n_missing:
        n_names = sum(len(panel.points) for panel, _ in placed)
        more = f"{n_missing} of {n_names} names find no room: choose with --method or --width."
        figure.text(
            MARGIN / width, 0.1 / figure.get_figheight(), more, fontsize=SMALL_SIZE, color=DIM
        )
    return figure, n_missing


def _draw_panel(axes: Axes, panel: Panel, label: str) -> None:
    """Everything but the names."""
    axes.set_xscale("log")
    axes.set_ylabel(label, labelpad=2)
    axes.set_ylim(panel.low, panel.high)
    if panel.reference is not None:
        axes.axhline(panel.reference, zorder=1.5, **FULL)
    for point in panel.points:
        x, y = panel.x(point), panel.y(point)
        if point.y >= panel.low:
            across = (point.cost.std or 0.0) * panel.cost.scale
            axes.errorbar(
                x,
                y,
                point.score.std or None,
                [[min(across, x / 2)], [across]] if across else None,
                ecolor=FLOOR_GREY if point.row.is_floor else DIM,
                elinewidth=0.6,
                zorder=2.5,
            )
        is_hollow = point.is_below_floor and not point.row.is_floor
        marker = _marker(point.family, point.is_on_frontier, is_hollow)
        axes.plot(x, y, zorder=4 if point.is_on_frontier else 3, clip_on=False, **marker)
    start, end = panel.cost_limits
    costs, scores = panel.frontier
    if costs:
        steps = [*costs, end], [*scores, scores[-1]]
        axes.plot(*steps, drawstyle="steps-post", zorder=2, **FRONTIER)
    axes.set_xlim(start, end)
    log_axis(axes.xaxis, panel.cost.label)


def _draw_names(axes: Axes, panel: Panel) -> int:
    """Place the names without overlaps, the frontier's and the floors' first; count those left."""
    ordered = sorted(panel.points, key=lambda p: (not p.is_on_frontier, not p.row.is_floor, -p.y))
    x, y = [panel.x(p) for p in ordered], [panel.y(p) for p in ordered]
    figure = axes.get_figure(root=True)
    assert figure is not None
    radii: Any = [MARKER_SIZE / 2 * figure.dpi / 72] * len(x)  # pixels
    start, end = panel.cost_limits
    x_lines, y_lines = _step_segments(*panel.frontier, end)
    if panel.reference is not None:
        x_lines, y_lines = [*x_lines, [start, end]], [*y_lines, [panel.reference] * 2]
    lines: dict[str, Any] = {"x_lines": x_lines, "y_lines": y_lines} if x_lines else {}
    _, _, texts, _ = textalloc.allocate(
        axes,
        x,
        y,
        [_name(point, panel) for point in ordered],
        x_scatter=x,
        y_scatter=y,
        **lines,
        scatter_sizes=radii,
        text_scatter_sizes=radii,
        textsize=NAME_SIZE,
        fontweight=["bold" if point.is_best else "normal" for point in ordered],
        textcolor=[DIM if point.row.is_floor else INK for point in ordered],
        linecolor="#8a8a8a",
        linewidth=0.45,
        draw_all=False,
        nbr_candidates=400,
        margin=0.002,
        min_distance=0.004,
        max_distance=0.22,
        avoid_crossing_label_lines=True,
        zorder=5,
        linespacing=1.1,
    )
    return sum(text is None for text in texts)


def _step_segments(
    x: Sequence[float], y: Sequence[float], end: float
) -> tuple[list[list[float]], list[list[float]]]:
    """The frontier as segments that names keep clear of: the ends' costs, and their scores."""
    flat = list(zip(x, [*x[1:], end], y, strict=True))
    steep = list(zip(x[1:], y, y[1:], strict=False))
    x_lines = [[left, right] for left, right, _ in flat] + [[at, at] for at, _, _ in steep]
    y_lines = [[up, up] for _, _, up in flat] + [[low, high] for _, low, high in steep]
    return x_lines, y_lines


def _name(point: Point, panel: Panel) -> str:
    """The row's name in one or two lines, and its score where that lies below the axes."""
    detail = point.row.details.strip()
    if len(detail) > LONGEST_DETAIL:
        detail = f"{detail[: LONGEST_DETAIL - 1]}…"
    below = f" ↓ {number(point.y)}" if point.y < panel.low else ""
    return f"{point.row.method}{below}" + (f"\n{detail}" if detail else "")


def _marker(family: str, is_on_frontier: bool = False, is_hollow: bool = False) -> dict[str, Any]:
    """Properties of a family's marker."""
    marker = MARKERS[family]
    return {
        "marker": marker.shape,
        "markersize": MARKER_SIZE * marker.size,
        "markerfacecolor": PAPER if is_hollow else marker.colour,
        "markeredgecolor": INK,
        "markeredgewidth": 1.1 if is_on_frontier else 0.8 if is_hollow else 0.4,
        "linestyle": "none",
    }


def _legend(panels: Sequence[Panel]) -> list[Line2D]:
    """What markers and lines mean, as far as they are drawn."""
    shown = [point for panel in panels for point in panel.points]
    families = {point.family for point in shown}
    is_hollow = any(point.is_below_floor and not point.row.is_floor for point in shown)
    seeds = sorted({point.score.n for point in shown if point.score.std})
    n_seeds = " to ".join(str(n) for n in dict.fromkeys([seeds[0], seeds[-1]])) if seeds else ""
    bar: dict[str, Any] = {"marker": "|", "markersize": 7, "color": DIM, "linestyle": "none"}
    entries: list[tuple[str, dict[str, Any], bool]] = [
        *((name, _marker(name), name in families) for name in FAMILY_ORDER if name != FLOOR),
        ("at or below a floor", _marker("adapters", is_hollow=True), is_hollow),
        (FLOOR, _marker(FLOOR), FLOOR in families),
        ("frontier of means", FRONTIER, any(point.is_on_frontier for point in shown)),
        ("full fine-tuning", FULL, any(panel.reference is not None for panel in panels)),
        (f"± 1 SD over seeds (n = {n_seeds})", bar, bool(seeds)),
        (f"{BOLD} best or tied", {"linestyle": "none"}, any(point.is_best for point in shown)),
    ]
    return [Line2D([], [], label=label, **look) for label, look, is_shown in entries if is_shown]


def _score_label(board: Board, metric: str) -> str:
    """What the height of a point is."""
    if metric == AVERAGE:
        return f"Average of {len(board.mains)} tasks (%)"
    task = metric.partition(".")[0]
    return f"{task} {short_metric(metric, task)} (%)"


def _notes(board: Board, panels: Sequence[Panel], costs: Sequence[Cost], metric: str) -> list[str]:
    """How to read the plot, which rows are not in it, and where the numbers come from."""
    notes = [FRONTIER_NOTE]
    if any(point.y < panel.low for panel in panels for point in panel.points):
        notes.append("An arrow and a number beside a name: the point lies below the axes.")
    notes += [AVERAGE_NOTE] if scored_by(board, metric) == AVERAGE else []
    missing = {cost.name: left_out(board, cost, metric) for cost in costs}
    if len({tuple(rows.items()) for rows in missing.values()}) == 1:
        missing = {"": next(iter(missing.values()))}
    for name, rows in missing.items():
        against = f" against {name}" if name else ""
        reasons = ", ".join(f"{label} ({reason})" for label, reason in rows.items())
        count = f"{len(rows)} of {len(board.rows)} methods"
        notes += [f"Not drawn{against}: {count}: {reasons}."] if rows else []
    if any(cost.is_measured for cost in costs):
        notes.append(
            f"Device: {counted(run.facts['device'] for run in board.runs if run.is_done)}."
        )
    return [*notes, seeds_note(board), *ground_notes(board), *board.notes]


def _description(point: Point, cost: Cost) -> str:
    """A point in words."""
    price = f"{number(point.x, cost.scale, 1 if cost.unit else 0)} {cost.unit}".strip()
    marks = [
        *["on the frontier"] * point.is_on_frontier,
        *["a floor"] * point.row.is_floor,
        *["at or below a floor"] * (point.is_below_floor and not point.row.is_floor),
    ]
    text = f"{point.row.label} {number(point.y)}{deviation(point.score.std)} at {price}"
    return ", ".join([text, *marks])
