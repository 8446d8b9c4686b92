"""Boxes and segments in the plane, many at a time: which of them meet.

A box is (left, bottom, right, top), a segment (x1, y1, x2, y2). Shapes: A and B how many.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def boxes_meet(a: Floats, b: Floats) -> Flags:
    """Which boxes share more than an edge: (A, 4), (B, 4) -> (A, B)."""
    left, bottom, right, top = np.moveaxis(a[:, None], -1, 0)
    return np.asarray(
        (left < b[:, 2]) & (b[:, 0] < right) & (bottom < b[:, 3]) & (b[:, 1] < top), np.bool_
    )


def boxes_within(a: Floats, outer: Floats) -> Flags:
    """Which boxes lie wholly in the outer one: (A, 4), (4,) -> (A,)."""
    is_within = (a[:, :2] >= outer[:2]).all(1) & (a[:, 2:] <= outer[2:]).all(1)
    return np.asarray(is_within, np.bool_)


def segments_meet_boxes(segments: Floats, boxes: Floats) -> Flags:
    """Which segments touch which boxes: (A, 4), (B, 4) -> (A, B).

    A segment is cut to each pair of parallel edges in turn (Liang and Barsky, 1984).
    """
    start, step = segments[:, :2], segments[:, 2:] - segments[:, :2]
    enter = np.zeros((len(segments), len(boxes)))
    leave = np.ones((len(segments), len(boxes)))
    for axis in (0, 1):
        at, by = start[:, axis, None], step[:, axis, None]
        is_across = np.abs(by) < 1e-9
        by = np.where(is_across, 1.0, by)
        one, two = (boxes[:, axis] - at) / by, (boxes[:, axis + 2] - at) / by
        is_between = (boxes[:, axis] <= at) & (at <= boxes[:, axis + 2])
        one = np.where(is_across, np.where(is_between, 0.0, 2.0), one)
        two = np.where(is_across, np.where(is_between, 1.0, 2.0), two)
        enter = np.maximum(enter, np.minimum(one, two))
        leave = np.minimum(leave, np.maximum(one, two))
    return np.asarray(enter <= leave, np.bool_)


def segments_cross(a: Floats, b: Floats) -> Flags:
    """Which segments cross: (A, 4), (B, 4) -> (A, B)."""
    first, second = a[:, None], b[None]
    return np.asarray(
        (_side(first, second[..., :2]) * _side(first, second[..., 2:]) < 0)
        & (_side(second, first[..., :2]) * _side(second, first[..., 2:]) < 0),
        np.bool_,
    )


def _side(segments: Floats, points: Floats) -> Floats:
    """On which side of a segment's line a point lies, by the sign."""
    along, to = segments[..., 2:] - segments[..., :2], points - segments[..., :2]
    return np.asarray(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0])
