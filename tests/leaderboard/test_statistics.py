"""The tests against scipy's and statsmodels' on random data, and how often they err."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as other_mcnemar
from statsmodels.stats.multitest import multipletests

from benchmarks import error_rate
from vlbench.leaderboard import draws
from vlbench.leaderboard.statistics import (
    LEVEL,
    Matrix,
    compare_scores,
    holm,
    judge,
    mcnemar,
)

RNG = np.random.default_rng


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(seed: int) -> None:
    rng = RNG(seed)
    a, b = (rng.random((2, 300)) < [[0.6], [0.55]]).astype(float)
    only_a, only_b, p = mcnemar(a, b)
    assert only_a == sum(x > y for x, y in zip(a, b, strict=True))
    assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue, rel=1e-9)
    assert p == pytest.approx(other_mcnemar([[0, only_a], [only_b, 0]]).pvalue, rel=1e-9)


def test_mcnemar_of_equal_answers_is_one() -> None:
    assert mcnemar(np.ones(3), np.ones(3)) == (0, 0, 1.0)
    assert mcnemar(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == (1, 1, 1.0)


def test_mcnemar_takes_thousands_of_examples() -> None:
    a, b = np.ones(30_000), np.zeros(30_000)
    assert mcnemar(a, b) == (30_000, 0, 0.0)
    a, b = np.arange(12_000) < 6100, np.arange(12_000) >= 6100
    expected = stats.binomtest(6100, 12_000).pvalue
    assert mcnemar(a.astype(float), b.astype(float))[2] == pytest.approx(expected, rel=1e-9)


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    p = RNG(seed).random(20 + seed) ** 4
    assert holm(list(p)) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


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


@pytest.mark.parametrize("seed", range(4))
def test_where_only_seeds_differ_it_is_the_t_test_of_the_seeds(seed: int) -> None:
    rng = RNG(seed)
    shifts = rng.normal(0.02, 0.05, 3)
    b = rng.random((1, 400)).repeat(3, axis=0)
    found = compare_scores([b + shifts[:, None]], [b])
    expected = stats.ttest_1samp(shifts, 0.0)
    assert found.p == pytest.approx(expected.pvalue, abs=0.03)
    interval = expected.confidence_interval(0.95)
    assert found.low / 100 == pytest.approx(interval.low, abs=0.1 * (interval.high - interval.low))
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


def test_p_is_below_five_percent_exactly_where_the_interval_leaves_out_zero() -> None:
    rng = RNG(0)
    found = []
    for shift in np.linspace(0.1, 0.4, 300):
        a, b = rng.gamma(1.5, 1.0, (2, 3, 60))
        found.append(compare_scores([a + shift], [b]))
    assert {each.p < LEVEL for each in found} == {True, False}
    assert all((each.p < LEVEL) == (each.low > 0 or each.high < 0) for each in found)


@pytest.mark.parametrize("step", [-1e-9, 1e-9])
def test_p_and_interval_agree_at_the_very_edge(step: float) -> None:
    drawn = draws.deviations(RNG(0).gamma(1.5, 1.0, (60, 1)))[:, 0]
    low, high, _ = judge(0.0, 0.01, 5.0, drawn, 60)
    for end, sign in ((low, 1), (high, -1)):
        at_edge = judge(-end + sign * step, 0.01, 5.0, drawn, 60)
        assert (at_edge[2] < LEVEL) == (step > 0) == (at_edge[0] > 0 or at_edge[1] < 0)


def test_a_few_examples_say_little_however_they_agree() -> None:
    for n, is_told in ((1, False), (3, False), (5, False), (6, True)):
        found = compare_scores([np.ones((3, n))], [np.zeros((3, n))])
        assert found.difference == 100.0
        assert found.p == 2.0 ** (1 - n)
        assert (found.low > 0) == (found.p < LEVEL) == is_told


def test_seeds_that_disagree_on_all_examples_alike_tell_nothing() -> None:
    a = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert compare_scores([a], [np.zeros((2, 2))]).p > LEVEL


def test_two_seeds_have_one_degree_of_freedom() -> None:
    rng = RNG(0)
    a = rng.normal([[0.2], [0.4]], 1.0, (2, 400))
    found = compare_scores([a], [np.zeros((2, 400))])
    assert found.p > LEVEL
    assert found.high - found.low > 10 * 100 * a.mean(axis=1).std()


def test_a_clear_difference_stays_clear_among_a_thousand() -> None:
    a = RNG(0).normal(0.5, 1.0, (1, 400))
    found = compare_scores([a], [np.zeros((1, 400))])
    assert found.p == pytest.approx(stats.ttest_rel(a[0], np.zeros(400)).pvalue, rel=1e-6)
    assert holm([found.p, *[1.0] * 999])[0] < 1e-10


def test_the_same_comparison_gives_the_same_numbers() -> None:
    a, b = RNG(0).random((2, 3, 100))
    assert compare_scores([a], [b]) == compare_scores([a], [b])
    assert compare_scores([b], [a]).difference == -compare_scores([a], [b]).difference


def test_right_or_wrong_of_one_seed_is_tested_by_mcnemar() -> None:
    a, b = (RNG(0).random((2, 1, 200)) < 0.5).astype(float)
    found = compare_scores([a], [b])
    assert found.test == "exact McNemar" and found.p == mcnemar(a[0], b[0])[2]
    assert compare_scores([a, a], [b, b]).test == "paired bootstrap"


@pytest.mark.parametrize("scores", [error_rate.right_or_wrong, error_rate.like_cider])
@pytest.mark.parametrize(("seeds", "share"), [(1, 0.0), (3, 0.0), (3, 5.0)])
def test_equal_methods_differ_in_five_percent_of_trials(
    seeds: int, share: float, scores: Callable[..., Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "DRAWS", 400)
    setting = error_rate.Setting("", (60, 40), seeds, share, scores)
    assert 0.025 < error_rate.error_rate(setting, 500) < 0.08


@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_with_normal_scores_the_rate_is_between_three_and_a_half_and_six_percent(
    seeds: int,
) -> None:
    places = itertools.product(error_rate.SHARES, error_rate.RESTS)
    rates = [error_rate.normal_rate(seeds, *place, trials=20_000) for place in places]
    assert min(rates) > 0.034 and max(rates) < 0.063
