"""Axes and their ticks."""

from __future__ import annotations

import pytest

from vlbench.leaderboard.scales import (
    Scale,
    linear_scale,
    linear_ticks,
    log_scale,
    log_ticks,
    short,
)


def test_a_log_axis_puts_equal_ratios_at_equal_distances() -> None:
    scale = Scale(1, 10_000, 0, 400, is_log=True)
    assert [scale(value) for value in (1, 10, 100, 1000, 10_000)] == [0, 100, 200, 300, 400]


def test_an_axis_may_run_downwards() -> None:
    scale = Scale(0, 10, 100, 0)
    assert (scale(0), scale(5), scale(10)) == (100, 50, 0)


@pytest.mark.parametrize("make", [linear_scale, log_scale])
@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [1e-3, 1e9], [99.0, 99.1]])
def test_every_value_lies_inside_and_there_are_ticks(make, values: list[float]) -> None:
    scale = make(values, 50, 900)
    assert all(50 < scale(value) < 900 for value in values)
    assert 2 <= len(scale.ticks) <= 14
    assert all(50 <= scale(tick) <= 900 for tick in scale.ticks)


def test_ticks_are_round() -> None:
    assert linear_ticks(31, 148) == [40, 60, 80, 100, 120, 140]
    assert log_ticks(4e4, 2e6) == [5e4, 1e5, 2e5, 5e5, 1e6, 2e6]
    assert [short(value) for value in (0.5, 20, 1000, 50_000, 1.5e6)] == [
        *("0.5", "20", "1k", "50k", "1.5M")
    ]
