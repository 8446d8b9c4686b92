"""Where the names of points are written, so that none covers another; some find no room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LETTER = 6.3
HEIGHT = 13.0
CLEAR = 6.0
"""Around a point, in the picture's units."""


class Box(NamedTuple):
    """A rectangle of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two share any part."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


class Label(NamedTuple):
    """A name beside its point."""

    x: float
    y: float
    anchor: str
    """start, middle or end, as SVG has it."""
    text: str


def place_labels(
    points: Sequence[tuple[float, float]], names: Sequence[str], inside: Box
) -> list[Label]:
    """Labels for the first points, as many as there are names: who comes first chooses a place."""
    taken = [Box(x - CLEAR, y - CLEAR, x + CLEAR, y + CLEAR) for x, y in points]
    labels = []
    for (x, y), name in zip(points, names, strict=False):
        for label in _candidates(x, y, name):
            box = _box(label)
            if _holds(inside, box) and not any(box.meets(other) for other in taken):
                labels.append(label)
                taken.append(box)
                break
    return labels


def _candidates(x: float, y: float, name: str) -> list[Label]:
    """Right, left, above, below, then the corners."""
    near, far = CLEAR + 4, CLEAR + 14
    beside = [(x + near, y + 4, "start"), (x - near, y + 4, "end")]
    across = [(x, y - near, "middle"), (x, y + far, "middle")]
    corners = [(x + 6, y - near, "start"), (x + 6, y + far, "start")]
    corners += [(x - 6, y - near, "end"), (x - 6, y + far, "end")]
    places = [*beside, *across, *corners]
    return [Label(round(a, 1), round(b, 1), anchor, name) for a, b, anchor in places]


def _box(label: Label) -> Box:
    width = LETTER * len(label.text)
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return Box(left - 1, label.y - HEIGHT + 3, left + width + 1, label.y + 3)


def _holds(outer: Box, inner: Box) -> bool:
    return (
        outer.left <= inner.left
        and outer.top <= inner.top
        and inner.right <= outer.right
        and inner.bottom <= outer.bottom
    )
