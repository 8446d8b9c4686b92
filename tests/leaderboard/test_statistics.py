"""The test against scipy's and statsmodels' on random data, and how often it errs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import error_rate
from vlbench.leaderboard import statistics
from vlbench.leaderboard.statistics import LEVEL, RowScores, holm, holm_levels

RNG = np.random.default_rng


def compared(
    a: list[np.ndarray], b: list[np.ndarray], clusters: list | None = None
) -> statistics.Test:
    """The test of scores, for each task (seeds, examples)."""
    return statistics.test_difference(RowScores.of(a, clusters), RowScores.of(b, clusters))


@pytest.mark.parametrize("seed", range(4))
def test_one_seed_is_the_paired_t_test(seed: int) -> None:
    from scipy import stats

    rng = RNG(seed)
    a = rng.normal(0.0, 1.0, (1, 500))
    b = a + rng.normal(0.08, 1.0, (1, 500))
    result, expected = compared([a], [b]), stats.ttest_rel(a[0], b[0])
    assert result.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert result.freedom == 499
    for level in (0.05, 0.002):
        interval = expected.confidence_interval(1 - level)
        assert result.interval(level) == pytest.approx((100 * interval.low, 100 * interval.high))


@pytest.mark.parametrize(("only_a", "only_b"), [(9, 2), (3, 12), (5, 5), (7, 0), (0, 0)])
def test_right_or_wrong_answers_of_one_seed_each_get_mcnemars_exact_test(
    only_a: int, only_b: int
) -> None:
    from scipy import stats

    n = only_a + only_b
    a = np.array([[1.0] * only_a + [0.0] * only_b + [1.0] * 20])
    b = np.array([[0.0] * only_a + [1.0] * only_b + [1.0] * 20])
    result = compared([a], [b])
    assert (result.name, result.discordant) == (statistics.MCNEMAR, (only_a, only_b))
    assert result.difference == pytest.approx(100 * (only_a - only_b) / (n + 20))
    expected = stats.binomtest(only_a, n).pvalue if n else 1.0
    assert result.p == pytest.approx(expected)
    for level in (0.05, 0.01):
        low, high = result.interval(level)
        assert (low > 0 or high < 0) == (result.p < level)
        if n:
            interval = stats.binomtest(only_a, n).proportion_ci(1 - level)
            shares = [(2 * share - 1) * 100 * n / (n + 20) for share in interval]
            assert [low, high] == pytest.approx(shares)
    half = np.array([a[0] / 2])  # neither right nor wrong
    for other in (
        compared([a], [half]),
        compared([a, a], [b, b]),
        compared([np.vstack([a, a])], [b]),
    ):
        assert other.name == statistics.STUDENT


@pytest.mark.parametrize("seeds", [(3, 3), (5, 3), (2, 4)])
def test_where_only_seeds_scatter_it_is_welchs_t_test(seeds: tuple[int, int]) -> None:
    from scipy import stats

    rng = RNG(1)
    base = rng.random(400)
    shifts = [rng.normal(0.02, 0.05, k) for k in seeds]
    a, b = (base + shift[:, None] for shift in shifts)
    result = compared([a], [b])
    expected = stats.ttest_ind(*shifts, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert result.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert result.freedom == pytest.approx(expected.df, rel=1e-6)
    assert result.interval() == pytest.approx((100 * interval.low, 100 * interval.high))
    assert result.n_seeds == seeds


@pytest.mark.parametrize("seed", range(3))
def test_clustered_examples_have_the_sandwich_variance_of_statsmodels(seed: int) -> None:
    import statsmodels.api as sm

    rng = RNG(seed)
    clusters = rng.integers(0, 60, 300)
    clusters = np.unique(clusters, return_inverse=True)[1]
    apart = rng.normal(0.1, 1.0, 300) + rng.normal(0.0, 1.0, 60)[clusters]
    result = compared([apart[None]], [np.zeros((1, 300))], [clusters])
    groups = {"groups": clusters, "use_correction": True, "df_correction": True}
    expected = sm.OLS(apart, np.ones(300)).fit(cov_type="cluster", cov_kwds=groups, use_t=True)
    # statsmodels corrects by G / (G - 1) x (n - 1) / (n - 1) for a mean
    assert result.standard_error == pytest.approx(100 * expected.bse[0], rel=1e-9)
    assert result.p == pytest.approx(expected.pvalues[0], rel=1e-9)


def test_variances_of_examples_and_seeds_add_up() -> None:
    rng = RNG(0)
    a, b = rng.normal(0.1, 1.0, (3, 200)), rng.normal(0.0, 1.0, (5, 200))
    a += rng.normal(0.0, 1.0, 200)  # examples that suit one of the two
    result = compared([a], [b])
    examples = (a.mean(0) - b.mean(0)).var(ddof=1) / 200
    seeds = a.mean(1).var(ddof=1) / 3 + b.mean(1).var(ddof=1) / 5
    rest = sum(
        np.square(x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()).sum()
        / ((len(x) - 1) * 199 * 200 * len(x))
        for x in (a, b)
    )
    assert result.standard_error == pytest.approx(100 * np.sqrt(examples - rest + seeds))


def test_a_task_counts_as_much_as_another_whatever_its_size() -> None:
    rng = RNG(0)
    large, small = rng.random((1, 900)), rng.random((1, 10))
    assert compared([large + 0.1, small], [large, small]).difference == pytest.approx(5.0)


def test_scores_that_do_not_scatter_get_a_sign_test() -> None:
    scores = RNG(0).random((3, 40))
    result = compared([scores, scores], [scores, scores])
    assert (result.difference, result.p, result.n_examples) == (0.0, 1.0, 80)
    assert result.interval()[1] >= 0.0
    for n, is_told in ((1, False), (3, False), (5, False), (6, True)):
        result = compared([np.ones((3, n))], [np.zeros((3, n))])
        assert (result.difference, result.p) == (100.0, 2.0 ** (1 - n))
        assert (result.interval()[0] > 0) == (result.p < LEVEL) == is_told
    disagreeing = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert compared([disagreeing], [np.zeros((2, 2))]).p > LEVEL


@pytest.mark.parametrize("level", [0.05, 0.01, 0.05 / 27])
def test_an_interval_leaves_out_zero_exactly_where_p_is_below_its_level(level: float) -> None:
    rng = RNG(0)
    outcomes = set()
    for shift in np.linspace(0.05, 0.8, 200):
        a, b = rng.gamma(1.5, 1.0, (2, 3, 60))
        for result in (compared([a + shift], [b]), compared([a[:1] + shift], [b[:1]])):
            low, high = result.interval(level)
            assert (result.p < level) == (low > 0 or high < 0)
            outcomes.add(result.p < level)
    assert len(outcomes) == 2


def test_many_rows_are_tested_as_each_alone() -> None:
    rng = RNG(0)
    rows = [RowScores.of([rng.normal(n / 50, 1.0, (k, 80))]) for n, k in enumerate((3, 3, 5, 1))]
    expected = [statistics.test_difference(rows[0], row).p for row in rows[1:]]
    assert statistics.p_values(rows[0], rows[1:]).tolist() == pytest.approx(expected)


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == holm_levels([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels_and_its_levels_agree_with_it(seed: int) -> None:
    from statsmodels.stats.multitest import multipletests

    p = RNG(seed).random(20 + seed) ** 4
    adjusted = holm(list(p))
    assert adjusted == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)
    is_below = [value < level for value, level in zip(p, holm_levels(list(p)), strict=True)]
    assert is_below == [value < LEVEL for value in adjusted]
    assert 0 < sum(is_below) < len(p)


@pytest.mark.parametrize("has_phases", [False, True])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("share", [0.0, 1.8, 3.0])
def test_equal_rows_rarely_differ(seeds: int, share: float, has_phases: bool) -> None:
    setting = error_rate.Setting(seeds, share, has_phases)
    tests = error_rate.pairs(setting, 20_000)
    assert 0.2 < error_rate.rate(tests, LEVEL) / LEVEL < 1.1
    if share:  # with three seeds that scatter by phases alone, all three jump in 1 % of the trials
        assert error_rate.family_error(setting, 17, 1_000) < 0.075


def test_examples_of_one_picture_stand_for_themselves() -> None:
    rng = RNG(0)
    a, b = rng.random((3, 7)), rng.random((3, 7))
    one = [np.zeros(7, dtype=np.intp)]
    assert compared([a], [b], one) == compared([a], [b])
    assert np.isfinite(compared([a], [b], one).p)
