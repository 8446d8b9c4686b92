"""Whether two rows differ: Student's t on a difference that scatters over examples and over seeds.

Examples are paired, as both rows answer the same ones, and clustered, as questions about one
picture share it. Seeds are not paired: row A's third seed has nothing in common with row B's. So

    variance = examples - rest + var_A / k_A + var_B / k_B

with examples: the clustered variance of the mean of the differences; var: the sample variance of a
row's k seed means; rest: what of a row's seeds scatters over examples, which both contain. Its
degrees of freedom are those of Welch (1947) for the seeds' part, times variance / seeds' part, at
most clusters - 1 (docs/statistics.md says why). Right-or-wrong answers of one seed each to one task
are tested by McNemar's exact test (1947) on the examples that only one of the two has right.

Shapes: T tasks, k seeds of a row, m rows that one is held against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

Numbers = npt.NDArray[np.float64]
LEVEL = 0.05
MARGIN = 5.0
"""Points of the normalised score within which two rows match."""
LEAST_SEEDS = 5
"""Of a row in tie groups: with fewer the test errs too often where seeds scatter."""
ROUNDING = 1e-10  # a standard error that is smaller, relative to the difference, is rounding
STUDENT = "Student's t, examples paired, seeds unpaired (Welch)"
MCNEMAR = "exact McNemar"


class RowScores(NamedTuple):
    """A row's scores on one task or several, as fractions."""

    seed_means: Numbers  # (k, T): over examples
    example_means: Sequence[Numbers]  # for each task (examples,): over seeds
    clusters: Sequence[npt.NDArray[np.intp]]  # for each task (examples,): each one's cluster
    rest: Numbers  # (T,): variance of the mean by what scatters over examples and seeds alike

    @classmethod
    def of(
        cls, scores: Sequence[Numbers], clusters: Sequence[npt.NDArray[np.intp]] | None = None
    ) -> RowScores:
        """Sum up scores, for each task (k, examples); by default each example is a cluster."""
        given = [np.arange(task.shape[1]) for task in scores] if clusters is None else clusters
        pairs = zip(scores, given, strict=True)
        return cls.of_tasks([cls.of_rows(task[None], groups)[0] for task, groups in pairs])

    @classmethod
    def of_rows(cls, scores: Numbers, clusters: npt.NDArray[np.intp]) -> list[RowScores]:
        """Sum up many rows' scores on one task at once: (rows, k, examples)."""
        n_rows, k, n = scores.shape
        groups = clusters if clusters.any() else np.arange(n)  # one cluster says nothing of others
        seed_means, means, rest = scores.mean(axis=2), scores.mean(axis=1), np.zeros(n_rows)
        if k > 1:
            apart = (scores - means[:, None]).reshape(n_rows * k, n)
            parts = _clustered_variance(apart, groups)[0].reshape(n_rows, k)
            rest = parts.sum(axis=1) / ((k - 1) * k)
        return [
            cls(seed_means[row, :, None], [means[row]], [groups], rest[row : row + 1])
            for row in range(n_rows)
        ]

    @classmethod
    def of_tasks(cls, parts: Sequence[RowScores]) -> RowScores:
        """Join a row's scores on several tasks."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.seed_means for part in parts], axis=1),
            [means for part in parts for means in part.example_means],
            [clusters for part in parts for clusters in part.clusters],
            np.concatenate([part.rest for part in parts]),
        )

    @property
    def means(self) -> Numbers:
        """(T,): over seeds and examples."""
        return np.asarray(self.seed_means.mean(axis=0))


class Scale(NamedTuple):
    """What 0 and 1 of the normalised score are: a task's floor, and what full fine-tuning scores.

    The floor counts as known; that full fine-tuning was measured adds to the error.
    """

    full: RowScores
    floors: Numbers  # (T,), as fractions

    @property
    def spans(self) -> Numbers:
        """(T,): the score of full fine-tuning above the floor."""
        return self.full.means - self.floors


@dataclass(frozen=True)
class Test:
    """The test of A against B, in percent points; the difference is positive where A is better."""

    __test__ = False  # no test of pytest's
    difference: float
    standard_error: float
    freedom: float  # degrees of freedom
    p: float  # two-sided, for this test alone
    n_examples: int
    n_seeds: tuple[int, int]  # of A and of B
    name: str = STUDENT
    discordant: tuple[int, int] = (0, 0)  # McNemar: examples that only A, and only B, has right

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the 1 - `level` confidence interval: without 0 exactly where p < level.

        McNemar's is that of Clopper and Pearson (1934), given the number of discordant examples.
        """
        if self.name == MCNEMAR:
            only_a, only_b = self.discordant
            low = special.betaincinv(only_a, only_b + 1, level / 2) if only_a else 0.0
            high = special.betaincinv(only_a + 1, only_b, 1 - level / 2) if only_b else 1.0
            scale = 100 * (only_a + only_b) / self.n_examples
            return float((2 * low - 1) * scale), float((2 * high - 1) * scale)
        reach = -float(special.stdtrit(self.freedom, level / 2)) * self.standard_error
        if self.standard_error == 0 and self.p >= level:  # a sign test
            reach = abs(self.difference)
        return self.difference - reach, self.difference + reach


def verdict(test: Test, p_holm: float, margin: float | None = None) -> str:
    """Say what a test shows of A: that it is better or worse, matches B, or is not worse.

    A matches B where the 90 % interval lies within the margin, in points: two one-sided tests at
    5 % (Schuirmann, 1987), which a small difference may pass that is significant too. It is not
    worse where that interval ends above minus the margin. `p_holm` decides on the other two.
    """
    low, high = test.interval(2 * LEVEL)
    if margin is not None and -margin < low and high < margin:
        return "matches"
    if p_holm < LEVEL:
        return "better" if test.difference > 0 else "worse"
    return "not worse" if margin is not None and -margin < low else "undecided"


def test_difference(a: RowScores, b: RowScores, scale: Scale | None = None) -> Test:
    """Test A against B on the plain mean of their tasks, or on the normalised score of a scale."""
    difference, error, freedom, p = (float(part[0]) for part in _differences(a, [b], scale))
    n_seeds, n_examples = (len(a.seed_means), len(b.seed_means)), sum(map(len, a.example_means))
    test = Test(100 * difference, 100 * error, freedom, p, n_examples, n_seeds)
    if scale or not _is_right_or_wrong(a) or not _is_right_or_wrong(b):
        return test
    apart = a.example_means[0] - b.example_means[0]
    only_a, only_b = int((apart > 0).sum()), int((apart < 0).sum())
    p = min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return replace(test, p=p, name=MCNEMAR, discordant=(only_a, only_b))


def p_values(a: RowScores, others: Sequence[RowScores], scale: Scale | None = None) -> Numbers:
    """Return the two-sided p of A against each of `others` by Student's t: (m,)."""
    return _differences(a, others, scale)[3]


def _is_right_or_wrong(row: RowScores) -> bool:
    """Whether the row is one seed's right-or-wrong answers to one task."""
    is_single = len(row.seed_means) == len(row.example_means) == 1
    return is_single and bool(np.isin(row.example_means[0], (0.0, 1.0)).all())


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several (Holm, 1979), in the order given."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    steps = np.minimum(1.0, np.arange(len(p), 0, -1) * np.asarray(p)[order])
    adjusted[order] = np.maximum.accumulate(steps)
    return list(adjusted.tolist())


def holm_levels(p: Sequence[float]) -> list[float]:
    """Return the level at which Holm's procedure tests each p-value.

    An interval at that level leaves out 0 exactly where the adjusted p is below 5 %.
    """
    n_significant = sum(adjusted < LEVEL for adjusted in holm(p))
    ranks = np.argsort(np.argsort(p, kind="stable"))
    levels = LEVEL / (len(p) - np.minimum(ranks, min(n_significant, len(p) - 1)))
    return list(levels.tolist())


def student(
    difference: Numbers,
    examples: Numbers,
    seeds: Sequence[Numbers],
    seeds_freedom: Sequence[Numbers],
    most_freedom: float,
) -> tuple[Numbers, Numbers, Numbers]:
    """Standard errors, degrees of freedom and two-sided p of differences, (m,) each.

    examples: variance of the examples' part. seeds: for each row that a difference is made of the
    variance of its mean over seeds, with its degrees of freedom.
    """
    seeds_part = np.sum(seeds, axis=0)
    total = examples + seeds_part
    squares = sum(part**2 / own for part, own in zip(seeds, seeds_freedom, strict=True))
    infinite = np.full(difference.shape, np.inf)
    welch = np.divide(seeds_part**2, squares, out=infinite.copy(), where=squares > 0)
    ratio = np.divide(total, seeds_part, out=infinite, where=seeds_part > 0)
    freedom = np.minimum(most_freedom, welch * ratio)
    error = np.sqrt(total)
    t = np.divide(np.abs(difference), error, out=np.zeros(difference.shape), where=error > 0)
    return error, freedom, 2 * special.stdtr(freedom, -t)


def _differences(
    a: RowScores, others: Sequence[RowScores], scale: Scale | None
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Difference of A from each of the others, standard error, degrees of freedom, p: (m,) each."""
    n_tasks, n_clusters = len(a.example_means), 0
    weights = np.ones(n_tasks) / n_tasks / (scale.spans if scale else 1.0)
    apart = a.means - np.stack([other.means for other in others])  # (m, T)
    difference = apart @ weights
    parts = _parts(a, others, weights, apart, scale)
    examples = np.zeros(len(others))
    for task, clusters in enumerate(a.clusters):
        scores = sum(part.weights[:, task, None] * part.example_means(task) for part in parts)
        variance, count = _clustered_variance(np.asarray(scores), clusters)
        examples += variance
        n_clusters += count
    rest = sum((np.square(part.weights) * part.rest).sum(axis=1) for part in parts)
    seeds, freedoms = zip(*(part.seed_variances() for part in parts), strict=True)
    examples = np.maximum(0.0, examples - rest)
    most_freedom = max(1, n_clusters - n_tasks)
    error, freedom, p = student(difference, examples, seeds, freedoms, most_freedom)
    # Where all examples and seeds differ by the same, a sign test says the least that they can.
    is_constant = error <= ROUNDING * np.abs(difference)
    signs = np.where(difference == 0, 1.0, min(1.0, 2.0 ** (1 - n_clusters)))
    return difference, np.where(is_constant, 0.0, error), freedom, np.where(is_constant, signs, p)


class _Part(NamedTuple):
    """What rows, one for all differences or one each, contribute to the differences' errors."""

    weights: Numbers  # (m, T)
    rows: Sequence[RowScores]  # 1 or m

    def example_means(self, task: int) -> Numbers:
        """(1 or m, examples)."""
        return np.stack([row.example_means[task] for row in self.rows])

    @property
    def rest(self) -> Numbers:
        """(1 or m, T)."""
        return np.stack([row.rest for row in self.rows])

    def seed_variances(self) -> tuple[Numbers, Numbers]:
        """Variances of the weighted means over seeds, with their degrees of freedom: (m,) each."""
        if len(self.rows) == 1:
            return _seed_variance(self.rows[0].seed_means @ self.weights.T)
        counts = np.array([len(row.seed_means) for row in self.rows])
        both = np.empty((2, len(counts)))
        for k in set(counts.tolist()):
            alike = np.flatnonzero(counts == k).tolist()
            means = np.stack([self.rows[n].seed_means for n in alike], axis=1)  # (k, rows, T)
            both[:, alike] = _seed_variance((means * self.weights[alike]).sum(axis=2))
        return both[0], both[1]


def _parts(
    a: RowScores,
    others: Sequence[RowScores],
    weights: Numbers,
    apart: Numbers,
    scale: Scale | None,
) -> list[_Part]:
    """A, the others, and the full fine-tuning of a scale, which is one of them or a third row.

    A difference is the sum over tasks of weights (T,) x apart (m, T). On a scale, full fine-tuning
    changes it by -weight x apart / span (delta method).
    """
    own = np.broadcast_to(weights, apart.shape)
    if scale is None:
        return [_Part(own, [a]), _Part(-own, others)]
    of_full = -own * apart / scale.spans
    if a is scale.full:
        return [_Part(own + of_full, [a]), _Part(-own, others)]
    is_full = np.array([other is scale.full for other in others])[:, None]
    theirs = -own + of_full * is_full
    return [_Part(own, [a]), _Part(theirs, others), _Part(of_full * ~is_full, [scale.full])]


def _clustered_variance(apart: Numbers, clusters: npt.NDArray[np.intp]) -> tuple[Numbers, int]:
    """Variance of the mean of differences (m, n) whose examples stand in clusters, and their count.

    The sandwich of Liang and Zeger (1986), with the factor G / (G - 1) of G clusters.
    """
    n, count = apart.shape[1], int(clusters.max()) + 1
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(count))
    centred = (apart - apart.mean(axis=1, keepdims=True))[:, order]
    sums = np.add.reduceat(centred, starts, axis=1)  # (m, G)
    factor = count / (count - 1) if count > 1 else math.inf
    variance: Numbers = np.square(sums).sum(axis=1) / n**2
    return np.where(variance > 0, factor * np.maximum(variance, 1e-300), 0.0), count


def _seed_variance(means: Numbers) -> tuple[Numbers, Numbers]:
    """Variance of the mean over seeds of (k, m), and its degrees of freedom; one seed has none."""
    k, m = means.shape
    if k == 1:
        return np.zeros(m), np.ones(m)
    variance = means.var(axis=0, ddof=1) / k
    is_rounding = variance <= np.square(ROUNDING * means.mean(axis=0))
    return np.where(is_rounding, 0.0, variance), np.full(m, k - 1.0)
