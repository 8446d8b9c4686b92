"""What chance does to a mean: examples drawn with replacement, and the tails of Student's t."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating]

DRAWS = 10_000
BLOCK_NUMBERS = 4_000_000
"""Random numbers held at once."""
KEPT_EXAMPLES = 2_500
"""Test sets up to this size keep their draws: a byte each."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)


def deviations(scores: Numbers, number: int = 0) -> npt.NDArray[np.float32]:
    """Means of examples drawn with replacement, less the mean: (examples, m) -> (DRAWS, m).

    The same draws for every table of that many examples, so that columns may be subtracted; others
    for another `number`, so that tasks of one size are drawn independently.
    """
    n = len(scores)
    centred = (scores - scores.mean(axis=0)).astype(np.float32)
    blocks = (_kept if n <= KEPT_EXAMPLES else _drawn)(n, number, DRAWS)
    return np.concatenate([counts.astype(np.float32) @ centred / n for counts in blocks])


def _drawn(n: int, number: int, draws: int) -> Iterator[npt.NDArray[np.uint8]]:
    """How often each of n examples comes in each draw: blocks of (some draws, n)."""
    generator = np.random.default_rng([n, number])
    block = max(1, BLOCK_NUMBERS // n)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        chosen = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=rows * n).reshape(rows, n)
        yield counts.astype(np.uint8)  # 256 times the same of n is not to be seen


@lru_cache(maxsize=8)
def _kept(n: int, number: int, draws: int) -> list[npt.NDArray[np.uint8]]:
    """The blocks of draws of a small test set, as many comparisons use them."""
    return list(_drawn(n, number, draws))


def student(t: Numbers, freedom: Numbers) -> Numbers:
    """The two-sided p of Student's t (Student, 1908), by quadrature over x = t + w s / (1 - s).

    t >= 0, freedom >= 1: of one shape, or numbers.
    """
    t, freedom = (np.asarray(each, np.float64)[..., None] for each in (t, freedom))
    width = (freedom + t**2) / ((freedom + 1) * np.maximum(t, 1.0))  # about where the tail is
    s = (NODES + 1) / 2
    x = t + width * s / (1 - s)
    logarithm = -(freedom + 1) / 2 * np.log1p(x**2 / freedom)
    tail = (np.exp(logarithm) * width / (1 - s) ** 2 * WEIGHTS / 2).sum(axis=-1)
    p: Numbers = np.minimum(1.0, 2 * _height(freedom[..., 0]) * tail)
    return p


def _height(freedom: Numbers) -> Numbers:
    """The density of Student's t at zero."""
    gamma = np.vectorize(math.lgamma, otypes=[np.float64])
    high: Numbers = np.exp(gamma((freedom + 1) / 2) - gamma(freedom / 2))
    density: Numbers = high / np.sqrt(freedom * math.pi)
    return density
