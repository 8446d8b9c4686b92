"""Where the names of points are written: beside them, or near with a line, none over another.

A name may stand on rings around its point. Each takes the best place that the others leave, over
and over; then some are moved at random, and what makes the picture better stays. Lengths are in
points (1/72 inch), and a label is a box.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlbench.leaderboard.plots.geometry import (
    Flags,
    Floats,
    boxes_meet,
    boxes_within,
    segments_cross,
    segments_meet_boxes,
)

RINGS = (2.0, 5.0, 9.0, 14.0, 20.0, 28.0, 38.0, 50.0, 64.0, 80.0, 98.0)
"""Distances of a label's box from the edge of its marker."""
ANGLES = 24
LED_FROM = 6.0
"""A label so far from its marker has a line to it."""
MOST_PLACES = 70
"""Of one name, the best by themselves."""
CLEAR = 1.2
"""Between a line to a label and the markers of others."""
ROUNDS = 12
MOVES = 150
"""How many names are moved at random, one after the other; the same ones each time."""
HOPELESS = 0.25
"""Where so many names lie on others once all have settled, no moves make room for them."""
FORBIDDEN = 1e6
"""What no picture may have: it outweighs everything else."""
CROSSED_LABEL, CROSSED_LEADER, MISTAKEN, OVER_LINE, OVER_BAR = 400.0, 300.0, 25.0, 40.0, 10.0
NOT_BESIDE, LIKE_A_BAR = 1.5, 40.0


@dataclass(frozen=True)
class Scene:
    """Where the points are, how large their markers and names, and what else is drawn."""

    points: Floats
    """(p, 2): the middles of the markers."""
    radius: float
    """Of a marker."""
    named: Sequence[int]
    """The points that get a name: n of them."""
    sizes: Floats
    """(n, 2): width and height of the names."""
    inside: Floats
    """(4,): the box which no name may leave."""
    bars: Floats
    """(b, 4): error bars, which a name had better not cover."""
    lines: Floats
    """(m, 4): other lines of that kind, the frontier's first of all."""


@dataclass(frozen=True)
class Label:
    """A name's place: its box, and the line that leads to its point, where it is not beside it."""

    box: Floats
    """(4,)"""
    leader: Floats | None
    """(4,): from the edge of the marker to the edge of the box."""


@dataclass(frozen=True)
class _Places:
    """The places that one name could take: k of them."""

    boxes: Floats
    """(k, 4)"""
    leaders: Floats
    """(k, 4)"""
    is_led: Flags
    """(k,): whether the leader is drawn."""
    costs: Floats
    """(k,): of the place itself, whatever the other names do."""


def place_labels(scene: Scene) -> list[Label] | None:
    """A place for each name, or None where they do not all find room."""
    if not scene.named:
        return []
    places = [_places(scene, n) for n in range(len(scene.named))]
    if not all(len(each.boxes) for each in places):
        return None
    choice = _Choice(places)
    choice.search()
    if choice.total() >= FORBIDDEN:
        return None
    return [
        Label(each.boxes[at], each.leaders[at] if each.is_led[at] else None)
        for each, at in zip(places, choice.chosen, strict=True)
    ]


class _Choice:
    """One place of each name, and what that costs."""

    def __init__(self, places: Sequence[_Places]) -> None:
        self.costs = [each.costs for each in places]
        self.together = _all_together(places)
        self.starts = np.cumsum([0, *(len(each.costs) for each in places)])[:-1]
        self.chosen = [int(np.argmin(costs)) for costs in self.costs]

    def total(self) -> float:
        """What the picture costs: each place by itself, each pair together once."""
        pairs = [self._others(n)[at] for n, at in enumerate(self.chosen)]
        alone = [costs[at] for costs, at in zip(self.costs, self.chosen, strict=True)]
        return float(sum(alone) + sum(pairs) / 2)

    def search(self) -> None:
        """Settle, move a name at random, settle again; keep what is no worse."""
        self._settle()
        lot = random.Random(0)
        best, cost = list(self.chosen), self.total()
        is_hopeless = cost > FORBIDDEN * (1 + HOPELESS * len(best))
        for _ in range(0 if is_hopeless or len(best) < 2 else MOVES):
            n = lot.randrange(len(best))
            self.chosen[n] = lot.randrange(len(self.costs[n]))
            self._settle(last=n)
            now = self.total()
            if now <= cost:
                best, cost = list(self.chosen), now
            else:
                self.chosen = list(best)

    def _settle(self, last: int = 0) -> None:
        """Give each name its best place in turn, the last one last, until none moves."""
        order = [*range(last + 1, len(self.chosen)), *range(last + 1)]
        for _ in range(ROUNDS):
            before = list(self.chosen)
            for n in order:
                self.chosen[n] = int(np.argmin(self.costs[n] + self._others(n)))
            if self.chosen == before:
                break

    def _others(self, n: int) -> Floats:
        """What each place of name `n` costs together with the other names where they are: (k,)."""
        return np.asarray(self.together[n][:, self.starts + self.chosen].sum(axis=1))


def _all_together(places: Sequence[_Places]) -> list[Floats]:
    """What the places of each name cost together with those of every name: (k, all places)."""
    blocks: dict[tuple[int, int], Floats] = {}
    for n, one in enumerate(places):
        blocks[n, n] = np.zeros((len(one.costs), len(one.costs)))
        for m, two in enumerate(places[:n]):
            blocks[n, m] = _together(one, two)
            blocks[m, n] = blocks[n, m].T
    everyone = range(len(places))
    return [np.hstack([blocks[n, m] for m in everyone]) for n in everyone]


def _together(one: _Places, two: _Places) -> Floats:
    """What two names cost together, at each pair of their places: (k, l)."""
    if not boxes_meet(_reach(one), _reach(two)).any():
        return np.zeros((len(one.costs), len(two.costs)))
    over = boxes_meet(one.boxes, two.boxes)
    through = segments_meet_boxes(one.leaders, two.boxes) & one.is_led[:, None]
    under = segments_meet_boxes(two.leaders, one.boxes).T & two.is_led
    crossed = segments_cross(one.leaders, two.leaders) & one.is_led[:, None] & two.is_led
    lines = CROSSED_LABEL * (through * 1.0 + under) + CROSSED_LEADER * crossed
    return np.asarray(FORBIDDEN * over + lines)


def _reach(each: _Places) -> Floats:
    """The box around all places of a name and their leaders: (1, 4)."""
    ends = np.vstack([each.boxes, each.leaders])
    low, high = np.minimum(ends[:, :2], ends[:, 2:]), np.maximum(ends[:, :2], ends[:, 2:])
    return np.hstack([low.min(axis=0), high.max(axis=0)])[None]


def _places(scene: Scene, n: int) -> _Places:
    """The places of a name, with what each costs by itself."""
    point = scene.points[scene.named[n]]
    boxes, gaps = _rings(point, scene.radius, scene.sizes[n])
    leaders = _leaders(point, scene.radius, boxes)
    is_led = gaps >= LED_FROM
    radius = scene.radius
    markers = np.hstack([scene.points - radius, scene.points + radius])
    costs = gaps.copy()
    costs += FORBIDDEN * ~boxes_within(boxes, scene.inside)
    costs += boxes_meet(boxes, markers).sum(axis=1) * FORBIDDEN
    costs += segments_meet_boxes(scene.bars, boxes).sum(axis=0) * OVER_BAR
    costs += segments_meet_boxes(scene.lines, boxes).sum(axis=0) * OVER_LINE
    others = np.delete(markers + np.array([-CLEAR, -CLEAR, CLEAR, CLEAR]), scene.named[n], axis=0)
    costs += segments_meet_boxes(leaders, others).sum(axis=1) * is_led * CROSSED_LABEL
    costs += (_gaps(boxes, np.delete(scene.points, scene.named[n], axis=0)) < gaps + radius) * (
        MISTAKEN * ~is_led
    )
    costs += (np.abs(leaders[:, 2] - leaders[:, 0]) < 2) * is_led * LIKE_A_BAR
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    costs += NOT_BESIDE * np.minimum(1.0, np.abs(middle - point[1]) / 5)
    kept = np.argsort(costs, kind="stable")[:MOST_PLACES]
    kept = kept[costs[kept] < FORBIDDEN]
    return _Places(boxes[kept], leaders[kept], is_led[kept], costs[kept])


def _rings(point: Floats, radius: float, size: Floats) -> tuple[Floats, Floats]:
    """Boxes around a point (k, 4), and how far from the marker each is (k,)."""
    turn = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    way = np.stack([np.cos(turn), np.sin(turn)], axis=-1)  # (a, 2), the first to the right
    edge = np.clip(way * 1.5, -1, 1) * size / 2  # a box's middle from the side that is near
    rings = np.array(RINGS)
    middle = point + edge + way * (radius + rings)[:, None, None]  # (r, a, 2)
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=-1)
    return boxes.reshape(-1, 4), np.repeat(rings, ANGLES)


def _gaps(boxes: Floats, points: Floats) -> Floats:
    """How far each box is from the nearest of the points: (k,)."""
    if not len(points):
        return np.full(len(boxes), np.inf)
    near = np.clip(points, boxes[:, None, :2], boxes[:, None, 2:])
    return np.asarray(np.linalg.norm(near - points, axis=-1).min(axis=1))


def _leaders(point: Floats, radius: float, boxes: Floats) -> Floats:
    """Lines from the marker's edge to the nearest part of each box: (k, 4)."""
    near = np.clip(point, boxes[:, :2], boxes[:, 2:])
    length = np.linalg.norm(near - point, axis=1, keepdims=True)
    start = point + (near - point) / np.maximum(length, 1e-9) * np.minimum(radius, length)
    return np.hstack([start, near])
