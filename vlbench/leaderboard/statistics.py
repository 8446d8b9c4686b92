"""Whether two methods differ: paired bootstrap over examples with seeds as a second level.

Scores of A and B on the same examples from the same seeds are subtracted, and the differences d
(seed s, example i) are seen as d = mu + seed_s + example_i + rest_si. Examples are drawn with
replacement within each task (Efron and Tibshirani, 1993). Seeds are too few to be drawn: three of
them would make every interval too narrow. Their variance is estimated from the seeds' means and
added, and the draws are spread by a chi-square as in Student's t: the fewer seeds, and the more
they differ, the wider. The degrees of freedom are (seeds - 1) x total variance / seeds' variance;
Satterthwaite's, with the ratio squared, finds differences too often with three seeds. How often a
difference is found where there is none: `benchmarks/error_rate.py`, docs/statistics.md.

One seed says nothing about others: then the claim is about these two sets of trained weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
"""(seeds, examples): scores as fractions, as predictions store them."""

DRAWS = 10_000
BLOCK_NUMBERS = 4_000_000
"""Random numbers held at once."""
KEPT_EXAMPLES = 2_500
"""Test sets up to this size keep their draws: a byte each."""
INTERVAL = (0.025, 0.975)
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

    a, b: per task (seeds, examples), paired in both. The p of one seed's right-or-wrong answers to
    one task is exact McNemar's, which may disagree with the interval at its very edge.
    """
    differences = [ours - theirs for ours, theirs in zip(a, b, strict=True)]
    drawn = [deviations(each.mean(axis=0)[:, None])[:, 0] for each in differences]
    found = compare_drawn(differences, np.mean(drawn, axis=0))
    if len(a) == 1 and len(a[0]) == 1 and is_binary(a[0]) and is_binary(b[0]):
        return found._replace(p=mcnemar(a[0][0], b[0][0])[2], test=MCNEMAR)
    return found


def compare_drawn(differences: Sequence[Matrix], drawn: npt.NDArray[np.floating]) -> Comparison:
    """Compare by differences, per task (seeds, examples), and draws (DRAWS,) of their mean.

    The draws are deviations from the mean, averaged over seeds and tasks.
    """
    difference = float(np.mean([each.mean() for each in differences]))
    n_examples, n_seeds = sum(each.shape[1] for each in differences), len(differences[0])
    variance, freedom = _variance(differences)
    spread = float(drawn.std())
    if variance == 0.0 or spread == 0.0:
        nothing = 100 * difference
        p = 1.0 if difference == 0.0 else 0.0 if n_seeds > 1 or n_examples > 1 else 1.0
        return Comparison(nothing, nothing, nothing, p, n_examples, n_seeds, BOOTSTRAP)
    chi = np.random.default_rng(n_examples).chisquare(freedom, len(drawn))
    spreads = math.sqrt(variance) / spread * np.sqrt(freedom / chi)
    values = difference + drawn * spreads
    low, high = np.quantile(values, INTERVAL)
    beyond = min(int((values <= 0).sum()), int((values >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(values) + 1))
    ends = (100 * difference, 100 * float(low), 100 * float(high))
    return Comparison(*ends, p, n_examples, n_seeds, BOOTSTRAP)


def deviations(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Means of examples drawn with replacement, less the mean: (examples, m) -> (DRAWS, m).

    The same draws for every table of that many examples, so that columns may be subtracted.
    """
    n = len(scores)
    centred = (scores - scores.mean(axis=0)).astype(np.float32)
    blocks = _kept(n, DRAWS) if n <= KEPT_EXAMPLES else _drawn(n, DRAWS)
    return np.concatenate([counts.astype(np.float32) @ centred / n for counts in blocks])


def _drawn(n: int, draws: int) -> Iterator[npt.NDArray[np.uint8]]:
    """How often each of n examples comes in each draw: blocks of (some draws, n)."""
    generator = np.random.default_rng(n)
    block = max(1, BLOCK_NUMBERS // n)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        chosen = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=rows * n).reshape(rows, n)
        yield counts.astype(np.uint8)  # 256 times the same of n is not to be seen


@lru_cache(maxsize=8)
def _kept(n: int, draws: int) -> list[npt.NDArray[np.uint8]]:
    """The blocks of draws of a small test set, as many comparisons use them."""
    return list(_drawn(n, draws))


def _variance(differences: Sequence[Matrix]) -> tuple[float, float]:
    """The variance of the mean difference over seeds and examples, and its degrees of freedom."""
    n_tasks, n_seeds = len(differences), len(differences[0])
    examples = sum(_of_mean(each.mean(axis=0)) for each in differences) / n_tasks**2
    freedom = float(max(1, sum(each.shape[1] for each in differences) - n_tasks))
    if n_seeds == 1:
        return examples, freedom
    means = np.mean([each.mean(axis=1) for each in differences], axis=0)
    between = float(means.var(ddof=1)) / n_seeds  # holds the rest, as `examples` does
    rest = sum(map(_rest, differences)) / n_tasks**2 / n_seeds
    total = max(0.0, examples - rest) + between
    if between == 0.0:
        return total, freedom
    larger = total / between if n_seeds > 2 else 1.0
    return total, min(freedom, (n_seeds - 1) * larger)


def _of_mean(values: npt.NDArray[np.float64]) -> float:
    """The variance of the mean of independent values."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def _rest(differences: Matrix) -> float:
    """The variance of a seed's mean that is neither the seed's nor the examples' own."""
    seeds, n = differences.shape
    if n < 2:
        return 0.0
    own = differences - differences.mean(axis=0) - differences.mean(axis=1)[:, None]
    squares = float(np.square(own + differences.mean()).sum())
    variance: float = squares / ((seeds - 1) * (n - 1) * n)
    return variance


def is_binary(scores: Matrix) -> bool:
    """Whether all scores are right or wrong."""
    return bool(np.isin(scores, (0.0, 1.0)).all())


def mcnemar(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> tuple[int, int, float]:
    """Only A right, only B right, and the exact two-sided p (McNemar, 1947): a fair coin's.

    a, b: (examples,), 1 for right and 0 for wrong.
    """
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    n, least = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(least + 1))
    return only_a, only_b, min(1.0, tail / 2 ** (n - 1)) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
