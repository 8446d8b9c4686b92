"""Rows on the same examples with the same seeds: how much the difference of any two scatters.

The differences d of two rows (seed s, example i) are seen as d = mu + seed_s + example_i + rest_si.
Products of all rows with all rows give every pair's parts at once, so that a board of a thousand
rows takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlbench.leaderboard.draws import deviations

Numbers = npt.NDArray[np.float64]
Draws = npt.NDArray[np.float32]

ROUNDING = 1e-10
"""A variance that is smaller, relatively to the rows' own, is rounding."""


class Pairwise(NamedTuple):
    """The parts of the variance of every two rows' difference, on one task or a mean of tasks."""

    seed_means: Numbers
    """(rows, seeds)."""
    examples: Numbers
    """(rows, rows): of the mean over examples, for these seeds."""
    rest: Numbers
    """(rows, rows): what the variance over examples and that over seeds both contain."""
    means: Mapping[int, Numbers]
    """By the task's number: (rows, examples), over seeds."""

    @property
    def n_examples(self) -> int:
        """Of all tasks."""
        return sum(means.shape[1] for means in self.means.values())

    def of(self, rows: Sequence[int]) -> Pairwise:
        """These rows only, in this order."""
        if list(rows) == list(range(len(self.seed_means))):
            return self
        square = np.ix_(rows, rows)
        return Pairwise(
            seed_means=self.seed_means[rows],
            examples=self.examples[square],
            rest=self.rest[square],
            means={task: means[rows] for task, means in self.means.items()},
        )

    def drawn(self, rows: Sequence[int]) -> Draws:
        """Deviations of these rows' means, from the same draws of the examples: (draws, rows)."""
        tasks = [deviations(means[rows].T, task) for task, means in self.means.items()]
        return sum(tasks, np.zeros((), np.float32)) / np.float32(len(tasks))


class Scatter(NamedTuple):
    """The difference of one row from each of several others, and how sure it is."""

    difference: Numbers
    variance: Numbers
    freedom: Numbers
    """Degrees of freedom of the variance."""


def pairwise(scores: Numbers, task: int) -> Pairwise:
    """One task, of this number. scores: (rows, seeds, examples)."""
    _, seeds, n = scores.shape
    means = scores.mean(axis=1)  # (rows, examples)
    seed_means = scores.mean(axis=2)
    centred = means - means.mean(axis=1, keepdims=True)
    examples = _distances(centred) / max(1, (n - 1) * n)
    rest = np.zeros_like(examples)
    if seeds > 1 and n > 1:
        own = scores - seed_means[:, :, None] - centred[:, None, :]
        rest = _distances(own.reshape(len(own), -1)) / ((seeds - 1) * (n - 1) * n * seeds)
    return Pairwise(seed_means, examples, rest, {task: means})


def averaged(tasks: Sequence[Pairwise]) -> Pairwise:
    """The plain mean of tasks, whose examples are drawn one task apart from another."""
    count = len(tasks)
    return Pairwise(
        np.mean([task.seed_means for task in tasks], axis=0),
        sum((task.examples for task in tasks), np.zeros(())) / count**2,
        sum((task.rest for task in tasks), np.zeros(())) / count**2,
        {number: means for task in tasks for number, means in task.means.items()},
    )


def scatter(rows: Pairwise, one: int, others: Sequence[int]) -> Scatter:
    """The differences of a row from others, with their variances."""
    seed_means = rows.seed_means[one] - rows.seed_means[others]  # (others, seeds)
    most = max(1, rows.n_examples - len(rows.means))
    return combined(seed_means, rows.examples[one, others], rows.rest[one, others], most)


def combined(seed_means: Numbers, examples: Numbers, rest: Numbers, most: int) -> Scatter:
    """Differences by seed (m, seeds), and the variances (m,) of their means, as one variance each.

    Seeds' variance is estimated from their means, which hold the rest too, as the examples' does.
    Its degrees of freedom are (seeds - 1) x total / seeds' variance; of two seeds 1.
    """
    difference, seeds = seed_means.mean(axis=1), seed_means.shape[1]
    limit = np.full(len(difference), float(most))
    if seeds == 1:
        return Scatter(difference, examples, limit)
    between = seed_means.var(axis=1, ddof=1) / seeds
    total = np.maximum(0.0, examples - rest) + between
    is_scattered = between > ROUNDING * total
    ratio = total / np.where(is_scattered, between, 1.0) if seeds > 2 else np.ones_like(total)
    freedom = np.where(is_scattered, np.minimum(limit, (seeds - 1) * ratio), limit)
    return Scatter(difference, total, freedom)


def _distances(rows: Numbers) -> Numbers:
    """Squared distances of all rows from all: (rows, m) -> (rows, rows)."""
    products = rows @ rows.T
    squares = np.diag(products)
    both = squares[:, None] + squares
    distances: Numbers = both - 2 * products
    return np.where(distances > ROUNDING * both, distances, 0.0)
