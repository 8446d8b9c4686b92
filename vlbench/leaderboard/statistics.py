"""Whether two methods differ: paired bootstrap over examples with seeds as a second level.

Examples are drawn with replacement within each task (Efron and Tibshirani, 1993), the same for A
and B. Seeds are too few to be drawn: three of them would make every interval too narrow. Their
variance is estimated from the seeds' means and added (`pairwise.py`), and the draws are spread by a
chi-square as in Student's t: the fewer seeds, and the more they differ, the wider. The degrees of
freedom are (seeds - 1) x total variance / seeds' variance; Satterthwaite's, with the ratio squared,
finds differences too often with three seeds. How often a difference is found where there is none:
`benchmarks/error_rate.py`, docs/statistics.md.

One seed says nothing about others: then the claim is about these two sets of trained weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlbench.leaderboard.draws import student
from vlbench.leaderboard.pairwise import Draws, Pairwise, averaged, pairwise, scatter

Matrix = npt.NDArray[np.float64]
"""(seeds, examples): scores as fractions, as predictions store them."""

LEVEL = 0.05
RARE = 0.002
"""Ten of 10,000 draws: a smaller p is Student's, for draws are too few to tell it."""
SPREAD = 2**31
"""Numbers the random numbers that spread the draws; tasks have lower ones."""
BOOTSTRAP = "paired bootstrap"
MCNEMAR = "exact McNemar"


class Comparison(NamedTuple):
    """A held against B, in percent points; positive where A is better."""

    difference: float
    low: float
    """The 95 % interval's lower end."""
    high: float
    p: float
    """Two-sided."""
    n_examples: int
    n_seeds: int
    test: str


def compare_scores(a: Sequence[Matrix], b: Sequence[Matrix]) -> Comparison:
    """Compare A with B on one task, or on the plain mean of several.

    a, b: per task (seeds, examples), paired in both. p is below 5 % exactly where the interval
    leaves out 0, but for one seed's right-or-wrong answers to one task: there p is exact McNemar's,
    which may disagree with the interval at its very edge. With one seed the claim is about these
    trained weights only.
    """
    both = together([np.stack(sides) for sides in zip(a, b, strict=True)])
    difference, variance, freedom = (float(each[0]) for each in scatter(both, 0, [1]))
    drawn = both.drawn([0, 1])
    low, high, p = judge(difference, variance, freedom, drawn[:, 0] - drawn[:, 1], both.n_examples)
    n_seeds = len(a[0])
    ends = (100 * difference, 100 * low, 100 * high)
    found = Comparison(*ends, p, both.n_examples, n_seeds, BOOTSTRAP)
    if len(a) == 1 and n_seeds == 1 and is_binary(a[0]) and is_binary(b[0]):
        return found._replace(p=mcnemar(a[0][0], b[0][0])[2], test=MCNEMAR)
    return found


def together(tasks: Sequence[npt.NDArray[np.float64]]) -> Pairwise:
    """Rows on the plain mean of tasks. tasks: each (rows, seeds, examples)."""
    return averaged([pairwise(task, number) for number, task in enumerate(tasks)])


def judge(
    difference: float, variance: float, freedom: float, drawn: Draws, n_examples: int
) -> tuple[float, float, float]:
    """The 95 % interval's ends and the two-sided p, from draws (n,) of the examples' part.

    The draws are stretched to the variance. p < 5 % exactly where the interval leaves out 0.
    """
    if variance <= least_variance(np.array(difference)):
        return _unscattered(difference, n_examples)
    generator = np.random.default_rng([n_examples, SPREAD])
    chi = generator.chisquare(freedom, len(drawn))
    spread = float(drawn.std())
    shape = drawn / spread if spread > 0 else generator.standard_normal(len(drawn))
    values = np.sort(difference + math.sqrt(variance) * shape * np.sqrt(freedom / chi))
    allowed = math.ceil(LEVEL / 2 * (len(values) + 1) - 1) - 1  # beyond 0, at p < 5 %
    low, high = float(values[allowed]), float(values[-1 - allowed])
    beyond = min(int((values <= 0).sum()), int((values >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(values) + 1))
    if p < RARE:
        t = steps(np.array(difference), np.array(variance))
        p = min(RARE, float(student(t, np.array(freedom))))
    return low, high, p


def _unscattered(difference: float, n_examples: int) -> tuple[float, float, float]:
    """Where all examples and seeds differ by the same: a sign test, the least that n can say."""
    p = 1.0 if difference == 0 else min(1.0, 2.0 ** (1 - n_examples))
    reach = 0.0 if p < LEVEL else abs(difference)
    return difference - reach, difference + reach, p


def least_variance(difference: Matrix) -> Matrix:
    """The variance below which there is nothing but rounding."""
    least: Matrix = np.square(1e-10 * difference)
    return least


def steps(difference: Matrix, variance: Matrix) -> Matrix:
    """How many standard deviations a difference is; 0 where there is no variance."""
    t: Matrix = np.abs(difference) / np.sqrt(np.where(variance > 0, variance, np.inf))
    return t


def is_binary(scores: Matrix) -> bool:
    """Whether all scores are right or wrong."""
    return bool(np.isin(scores, (0.0, 1.0)).all())


def mcnemar(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> tuple[int, int, float]:
    """Only A right, only B right, and the exact two-sided p (McNemar, 1947): a fair coin's.

    a, b: (examples,), 1 for right and 0 for wrong.
    """
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    n, least = only_a + only_b, min(only_a, only_b)
    tail = ways = 1  # of throwing n coins with k heads, k up to the lesser count
    for k in range(least):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return only_a, only_b, min(1.0, tail / 2 ** (n - 1)) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
