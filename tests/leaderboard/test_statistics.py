"""The tests against scipy's on random data, and how often they err."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks import error_rate
from vlbench.leaderboard import statistics
from vlbench.leaderboard.statistics import compare_scores, deviations, holm, mcnemar

RNG = np.random.default_rng


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(seed: int) -> None:
    rng = RNG(seed)
    a, b = (rng.random((2, 300)) < [[0.6], [0.55]]).astype(float)
    only_a, only_b, p = mcnemar(a, b)
    assert only_a == sum(x > y for x, y in zip(a, b, strict=True))
    assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue, rel=1e-9)


def test_mcnemar_of_equal_answers_is_one() -> None:
    assert mcnemar(np.ones(3), np.ones(3)) == (0, 0, 1.0)
    assert mcnemar(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == (1, 1, 1.0)


def test_mcnemar_takes_thousands_of_examples() -> None:
    a, b = np.ones(30_000), np.zeros(30_000)
    assert mcnemar(a, b) == (30_000, 0, 0.0)


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("seed", range(3))
def test_holm_rejects_what_its_definition_rejects(seed: int) -> None:
    p_values = list(RNG(seed).random(20) ** 4)
    ranked = sorted(p_values)
    kept = next((i for i, p in enumerate(ranked) if p > 0.05 / (20 - i)), 20)
    rejected = {p for p, q in zip(p_values, holm(p_values), strict=True) if q <= 0.05}
    assert rejected == set(ranked[:kept])


@pytest.mark.parametrize("seed", range(4))
def test_one_seed_is_the_paired_t_test_of_many_examples(seed: int) -> None:
    rng = RNG(seed)
    a = rng.normal(0.0, 1.0, (1, 500))
    b = a + rng.normal(0.08, 1.0, (1, 500))
    found = compare_scores([a], [b])
    expected = stats.ttest_rel(a[0], b[0])
    interval = expected.confidence_interval(0.95)
    assert found.difference == pytest.approx(100 * (a - b).mean())
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    width = interval.high - interval.low
    assert found.low / 100 == pytest.approx(interval.low, abs=0.05 * width)
    assert found.high / 100 == pytest.approx(interval.high, abs=0.05 * width)


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


@pytest.mark.parametrize("seed", range(4))
def test_where_only_seeds_differ_it_is_the_t_test_of_the_seeds(seed: int) -> None:
    rng = RNG(seed)
    shifts = rng.normal(0.02, 0.05, 3)
    b = rng.random((1, 400)).repeat(3, axis=0)
    noise = 1e-9 * rng.normal(size=(3, 400))
    found = compare_scores([b + shifts[:, None] + noise], [b])
    assert found.p == pytest.approx(stats.ttest_1samp(shifts, 0.0).pvalue, abs=0.03)
    assert found.n_seeds == 3


def test_nothing_differs_where_all_scores_are_equal() -> None:
    scores = RNG(0).random((3, 40))
    found = compare_scores([scores, scores], [scores, scores])
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert found.n_examples == 80


def test_a_task_counts_as_much_as_another_whatever_its_size() -> None:
    rng = RNG(0)
    large, small = rng.random((1, 900)), rng.random((1, 10))
    found = compare_scores([large + 0.1, small], [large, small])
    assert found.difference == pytest.approx(5.0)


def test_p_and_interval_agree() -> None:
    rng = RNG(0)
    for shift in np.linspace(0.0, 0.2, 25):
        a, b = rng.normal(0.0, 1.0, (2, 3, 200))
        found = compare_scores([a + shift], [b])
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0) or abs(found.p - 0.05) < 0.002


def test_the_same_comparison_gives_the_same_numbers() -> None:
    a, b = RNG(0).random((2, 3, 100))
    assert compare_scores([a], [b]) == compare_scores([a], [b])
    assert compare_scores([b], [a]).difference == -compare_scores([a], [b]).difference


def test_right_or_wrong_of_one_seed_is_tested_by_mcnemar() -> None:
    a, b = (RNG(0).random((2, 1, 200)) < 0.5).astype(float)
    found = compare_scores([a], [b])
    assert found.test == "exact McNemar" and found.p == mcnemar(a[0], b[0])[2]
    assert compare_scores([a, a], [b, b]).test == "paired bootstrap"


@pytest.mark.parametrize(("seeds", "share"), [(1, 0.0), (3, 0.0), (3, 5.0)])
def test_equal_methods_differ_in_five_percent_of_trials(
    seeds: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 400)
    setting = error_rate.Setting("", (60, 40), seeds, share, error_rate.like_cider)
    assert 0.025 < error_rate.error_rate(setting, 500) < 0.08
