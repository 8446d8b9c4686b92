"""The draws and Student's tails against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vlbench.leaderboard.draws import deviations, student

RNG = np.random.default_rng


def test_draws_are_those_of_a_bootstrap() -> None:
    scores = RNG(0).gamma(1.5, 1.0, 200)
    drawn = deviations(scores[:, None])[:, 0]
    interval = stats.bootstrap(
        (scores,), np.mean, method="percentile", rng=RNG(1)
    ).confidence_interval
    ends = scores.mean() + np.quantile(drawn, [0.025, 0.975])
    assert ends == pytest.approx([interval.low, interval.high], abs=0.02)


def test_columns_are_drawn_together() -> None:
    scores = RNG(0).random((50, 2))
    together = deviations(scores)
    apart = deviations(scores[:, :1] - scores[:, 1:])
    assert together[:, 0] - together[:, 1] == pytest.approx(apart[:, 0], abs=1e-6)


def test_tasks_of_one_size_are_drawn_apart() -> None:
    scores = RNG(0).random((50, 1))
    first, second = (deviations(scores, number)[:, 0] for number in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert np.array_equal(first, deviations(scores)[:, 0])


@pytest.mark.parametrize("freedom", [1.0, 1.3, 2.0, 2.7, 4.0, 30.0, 4151.0])
def test_the_tails_are_those_of_student(freedom: float) -> None:
    t = np.array([0.0, 0.1, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0])
    p = student(t, np.full(len(t), freedom))
    assert p == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-4)
