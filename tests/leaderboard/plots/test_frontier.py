"""The Pareto frontier."""

from __future__ import annotations

import random

import pytest

from vlbench.leaderboard.plots.frontier import on_frontier


@pytest.mark.parametrize(
    ("costs", "scores", "expected"),
    [
        ([], [], ""),
        ([5], [50], "x"),
        ([1, 2, 3], [10, 20, 30], "xxx"),
        ([1, 2, 3], [30, 20, 10], "x--"),
        ([3, 1, 2], [30, 20, 10], "xx-"),
        ([1, 1], [10, 20], "-x"),  # the same cost: the higher score
        ([1, 2], [20, 20], "x-"),  # the same score: the lower cost
        ([2, 1, 2, 2], [20, 10, 20, 19], "xxx-"),  # equal in both: both
        ([None, 2], [99, 20], "-x"),
        ([1, 2], [None, 20], "-x"),
        ([None], [None], "-"),
        ([0, 1], [10, 20], "xx"),
        ([1, 2], [-10, -5], "xx"),
    ],
)
def test_points_that_no_other_beats_are_on_it(costs, scores, expected: str) -> None:
    assert "".join("x" if on else "-" for on in on_frontier(costs, scores)) == expected


def test_it_is_what_the_definition_says_of_each_pair() -> None:
    lot = random.Random(1)
    for _ in range(50):
        points = [(lot.randint(1, 8), lot.randint(1, 8)) for _ in range(12)]
        beaten = [
            any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
            for cost, score in points
        ]
        found = on_frontier(*map(list, zip(*points, strict=True)))
        assert found == [not is_beaten for is_beaten in beaten]
