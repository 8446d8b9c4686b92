"""One pair of axes of the Pareto picture: a board's points, their names, the frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D, Transform

from vlbench.leaderboard.numbers import number
from vlbench.leaderboard.plots.costs import Cost
from vlbench.leaderboard.plots.frame import Frame
from vlbench.leaderboard.plots.geometry import Floats
from vlbench.leaderboard.plots.labels import Label, Scene, place_labels
from vlbench.leaderboard.plots.lettering import text_size
from vlbench.leaderboard.plots.page import POINTS, Look, add_axes
from vlbench.leaderboard.plots.points import Point
from vlbench.leaderboard.plots.style import (
    DIM,
    FLOOR_GREY,
    INK,
    LINE_SPACING,
    MARKER_RADIUS,
    MARKERS,
    PAPER,
)
from vlbench.leaderboard.scales import linear_ticks, log_ticks, short

NAME_SIZE = 6.2
MOST_NAMES = 45
"""Where there are more points, only the frontier and the floors have names."""
LONGEST_DETAIL = 30
"""Characters of what stands below a name: settings, or the weights it started from."""
FRONTIER: Look = {"color": INK, "linewidth": 0.9}
REFERENCE: Look = {"color": DIM, "linewidth": 0.8, "linestyle": (0, (4, 2))}
BAR: Look = {"color": DIM, "linewidth": 0.6}
LEADER: Look = {"color": "#8a8a8a", "linewidth": 0.45}


@dataclass(frozen=True)
class Panel:
    """What one pair of axes shows, settled before anything is drawn."""

    cost: Cost
    points: Sequence[Point]
    frame: Frame
    names: Mapping[int, Label]
    """Where the name of each point stands; of some there is none where room is scarce."""
    reference: float | None
    """The score of full fine-tuning."""

    @property
    def is_named(self) -> bool:
        """Whether every point has its name."""
        return len(self.names) == len(self.points)


def panel(cost: Cost, shown: Sequence[Point], frame: Frame) -> Panel:
    """The axes with a place for every name; else for those that matter most, or for none."""
    everyone = list(range(len(shown)))
    first = [n for n in everyone if shown[n].is_on_frontier or shown[n].row.is_floor]
    names: dict[int, Label] = {}
    for named in (everyone, first):
        if len(named) <= MOST_NAMES:
            labels = place_labels(_scene(shown, named, frame))
            if labels is not None:
                names = dict(zip(named, labels, strict=True))
                break
    return Panel(cost, shown, frame, names, reference(shown))


def reference(shown: Sequence[Point]) -> float | None:
    """The score of full fine-tuning as its card is, where one row is that."""
    found = [point.y for point in shown if point.row.method == "full" and point.row.label == "full"]
    return found[0] if len(found) == 1 else None


def draw_panel(made: Panel, y_label: str, figure: Figure, left: float, bottom: float) -> Axes:
    """Draw it with the lower left corner of the axes at that place, in inches."""
    frame = made.frame
    axes = add_axes(figure, left, bottom, frame.width / POINTS, frame.height / POINTS)
    axes.set_xscale("log")
    axes.set_xlim(frame.left, frame.right)
    axes.set_ylim(frame.low, frame.high)
    scale = made.cost.scale
    across = log_ticks(frame.left * scale, frame.right * scale)
    up = linear_ticks(frame.low, frame.high)
    axes.set_xticks([value / scale for value in across], [short(value) for value in across])
    axes.set_xticks([], minor=True)
    axes.set_yticks(up, [f"{value:g}" for value in up])
    axes.set_xlabel(made.cost.label, labelpad=2)
    axes.set_ylabel(y_label, labelpad=2)
    if made.reference is not None:
        axes.axhline(made.reference, zorder=1.5, **REFERENCE)
    _draw_frontier(axes, made)
    for point in made.points:
        _draw_point(axes, point, frame)
    _draw_names(axes, made)
    return axes


def sign(family: str, is_on_frontier: bool = False, is_hollow: bool = False) -> Look:
    """The marker of a family as matplotlib's properties."""
    marker = MARKERS[family]
    return {
        "marker": marker.shape,
        "markersize": 2 * MARKER_RADIUS * marker.size,
        "markerfacecolor": PAPER if is_hollow else marker.colour,
        "markeredgecolor": INK,
        "markeredgewidth": 1.1 if is_on_frontier else 0.8 if is_hollow else 0.4,
        "linestyle": "none",
    }


def _name(point: Point, frame: Frame) -> str:
    """The row's name in one or two lines, and its score where that lies below the axes."""
    detail = point.row.details.strip()
    if len(detail) > LONGEST_DETAIL:
        detail = f"{detail[: LONGEST_DETAIL - 1]}…"
    score = f" ↓ {number(point.y)}" if frame.is_below(point) else ""
    return f"{point.row.method}{score}" + (f"\n{detail}" if detail else "")


def _middles(shown: Sequence[Point], frame: Frame) -> Floats:
    """Where the markers stand, those below the axes at their edge: (n, 2)."""
    places = frame.on_paper([point.x for point in shown], [point.y for point in shown])
    places[:, 1] = np.maximum(places[:, 1], MARKER_RADIUS + 2)
    return places


def _scene(shown: Sequence[Point], named: Sequence[int], frame: Frame) -> Scene:
    sizes = [text_size(_name(shown[n], frame), NAME_SIZE, shown[n].is_best) for n in named]
    bars = [frame.on_paper(*bar).ravel() for point in shown for bar in _bars(point, frame)]
    return Scene(
        points=_middles(shown, frame),
        radius=MARKER_RADIUS + 0.6,
        named=named,
        sizes=np.array(sizes).reshape(-1, 2) + np.array([2.0, 0.0]),
        inside=np.array([1.0, 1.0, frame.width - 1, frame.height - 1]),
        bars=np.array(bars).reshape(-1, 4),
        lines=_lines(shown, frame),
    )


def _bars(point: Point, frame: Frame) -> list[tuple[list[float], list[float]]]:
    """The deviations of score and cost, as the ends of lines: two costs, two scores."""
    if frame.is_below(point):
        return []
    up, across = point.score.std or 0.0, point.cost.std or 0.0
    least = max(point.x - across, frame.left)
    upright = ([point.x] * 2, [point.y - up, point.y + up])
    level = ([least, point.x + across], [point.y] * 2)
    return [upright] * bool(up) + [level] * bool(across)


def _lines(shown: Sequence[Point], frame: Frame) -> Floats:
    """The frontier's segments, and full fine-tuning's: (m, 4)."""
    corners = _frontier(shown, frame)
    across = frame.on_paper([frame.left, frame.right], [reference(shown) or frame.low] * 2)
    return np.vstack([np.hstack([corners[:-1], corners[1:]]), across.reshape(1, 4)])


def _frontier(shown: Sequence[Point], frame: Frame) -> Floats:
    """The corners of the frontier's steps, cheapest first: to the next cost, then up. (c, 2)"""
    front = sorted((point.x, point.y) for point in shown if point.is_on_frontier)
    corners: list[tuple[float, float]] = []
    for x, y in front:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    if corners:
        corners.append((frame.right, corners[-1][1]))
    return frame.on_paper([x for x, _ in corners], [y for _, y in corners])


def _draw_frontier(axes: Axes, made: Panel) -> None:
    corners = _frontier(made.points, made.frame)
    axes.plot(*corners.T, zorder=2, transform=_paper(axes), **FRONTIER)


def _draw_point(axes: Axes, point: Point, frame: Frame) -> None:
    colour = FLOOR_GREY if point.row.is_floor else DIM
    middle = _middles([point], frame)
    for bar in _bars(point, frame):
        axes.plot(*bar, zorder=2.5, **BAR | {"color": colour})
    is_hollow = point.is_below_floor and not point.row.is_floor
    look = sign(point.family, point.is_on_frontier, is_hollow)
    order = 4 if point.is_on_frontier else 3
    axes.plot(*middle.T, zorder=order, transform=_paper(axes), clip_on=False, **look)


def _draw_names(axes: Axes, made: Panel) -> None:
    paper = _paper(axes)
    for n, label in made.names.items():
        point = made.points[n]
        left, bottom, right, top = label.box
        if label.leader is not None:
            x1, y1, x2, y2 = label.leader
            axes.plot([x1, x2], [y1, y2], transform=paper, zorder=2.2, **LEADER)
        axes.text(
            (left + right) / 2,
            (bottom + top) / 2,
            _name(point, made.frame),
            ha="center",
            va="center",
            transform=paper,
            fontsize=NAME_SIZE,
            linespacing=LINE_SPACING,
            fontweight="bold" if point.is_best else "normal",
            color=DIM if point.row.is_floor else INK,
            zorder=5,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.6, "pad": 0.3},
        )


def _paper(axes: Axes) -> Transform:
    """Points (1/72 inch) from the lower left corner of the axes -> the canvas."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    box = axes.get_position()
    across, up = figure.get_size_inches()
    corner = Affine2D().scale(1 / POINTS).translate(box.x0 * across, box.y0 * up)
    return corner + figure.dpi_scale_trans
