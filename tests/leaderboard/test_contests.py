"""Many rows at once are told apart as one by one, with fewer draws."""

from __future__ import annotations

import numpy as np
import pytest

from vlbench.leaderboard import contests as module
from vlbench.leaderboard.contests import Contest, told_apart
from vlbench.leaderboard.statistics import LEVEL, RARE, Matrix, compare_scores, holm, together

RNG = np.random.default_rng


def one_by_one(tasks: list[Matrix]) -> list[float]:
    """The p of the first row against each of the others."""
    others = range(1, len(tasks[0]))
    return [compare_scores([t[0] for t in tasks], [t[i] for t in tasks]).p for i in others]


def tasks_of(levels: list[float], seed: int, seeds: int = 3) -> list[Matrix]:
    """Two tasks on which rows have these levels."""
    rng, high = RNG(seed), np.array(levels)[:, None, None]
    return [rng.normal(high, 1.0, (len(levels), seeds, n)) for n in (90, 60)]


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_rows_are_told_apart_as_one_by_one(seed: int, seeds: int) -> None:
    levels = [0.0, 0.0, 0.1, 0.15, 0.2, 0.22, 0.24, 0.26, 0.28, 0.3, 0.4, 2.0]
    tasks = tasks_of(levels, seed, seeds)
    (told,) = told_apart([Contest(together(tasks), 0, range(1, len(levels)))])
    assert list(told) == [p < LEVEL for p in holm(one_by_one(tasks))]


def test_the_correction_is_over_all_contests() -> None:
    tasks = tasks_of([0.0, 0.35, *[0.0] * 30], 1)
    rows = together(tasks)
    (alone,) = told_apart([Contest(rows, 0, [1])])
    (first, _) = told_apart([Contest(rows, 0, [1]), Contest(rows, 0, range(2, 32))])
    assert list(alone) == [True] and list(first) == [False]


def test_draws_decide_what_is_open() -> None:
    tasks = tasks_of([0.0, 0.0, 0.15, 2.0], 5)
    contest = Contest(together(tasks), 0, [1, 2, 3])
    assert list(contest.is_open) == [False, True, True]
    contest.decide(np.array([True, True, True]))
    assert list(contest.p[1:]) == pytest.approx(one_by_one(tasks)[1:], rel=1e-9)
    assert contest.p[2] < RARE < contest.p[1]


def test_nothing_is_drawn_that_cannot_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = tasks_of([0.0, 0.2, *[0.0] * 200], 1)
    contest = Contest(together(tasks), 0, range(1, 202))
    assert contest.is_open.any()
    monkeypatch.setattr(module, "judge", None)
    assert not any(told_apart([contest])[0])


def test_rows_that_all_examples_set_apart_by_the_same_need_no_draws() -> None:
    scores = np.stack([np.full((1, 20), 0.5), np.full((1, 20), 0.4), np.full((1, 20), 0.5)])
    contest = Contest(together([scores]), 0, [1, 2])
    assert list(contest.p) == one_by_one([scores]) == [2.0**-19, 1.0]
    assert not contest.is_open.any()
