"""Boxes and segments that meet."""

from __future__ import annotations

import numpy as np
import pytest

from vlbench.leaderboard.plots.geometry import (
    boxes_meet,
    boxes_within,
    segments_cross,
    segments_meet_boxes,
)

BOX = np.array([[0.0, 0.0, 10.0, 4.0]])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((5, 2, 15, 6), True),
        ((2, 1, 3, 2), True),
        ((-5, -5, 20, 20), True),
        ((10, 0, 20, 4), False),  # an edge in common
        ((0, 5, 10, 9), False),
    ],
)
def test_boxes_that_share_more_than_an_edge_meet(other, expected: bool) -> None:
    assert boxes_meet(BOX, np.array([other], float)).tolist() == [[expected]]
    assert boxes_meet(np.array([other], float), BOX).tolist() == [[expected]]


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ((-5, 2, 15, 2), True),  # through
        ((5, 2, 6, 3), True),  # within
        ((5, -5, 5, 1), True),  # vertical, into it
        ((5, -5, 5, -1), False),
        ((-5, 5, 15, 5), False),  # horizontal, above
        ((-1, -3, 3, 1), True),  # over a corner
        ((-3, 1, 1, 8), False),  # past a corner
        ((12, 2, 15, 2), False),
    ],
)
def test_segments_that_touch_a_box_meet_it(segment, expected: bool) -> None:
    for turned in (segment, (*segment[2:], *segment[:2])):
        assert segments_meet_boxes(np.array([turned], float), BOX).tolist() == [[expected]]


def test_segments_cross_where_each_parts_the_ends_of_the_other() -> None:
    one = np.array([[0.0, 0.0, 10.0, 10.0]])
    others = np.array([[0, 10, 10, 0], [0, 5, 4, 5], [20, 0, 20, 10], [0, 1, 10, 11]], float)
    assert segments_cross(one, others).tolist() == [[True, False, False, False]]


def test_a_box_is_within_another_up_to_its_edges() -> None:
    boxes = np.array([[0, 0, 5, 5], [-1, 0, 5, 5], [0, 0, 5, 11], [0, 0, 10, 10]], float)
    outer = np.array([0.0, 0.0, 10.0, 10.0])
    assert boxes_within(boxes, outer).tolist() == [True, False, False, True]
