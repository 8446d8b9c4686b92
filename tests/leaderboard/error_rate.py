"""How often the test finds a difference between simulated rows that do not differ.

*Share* is the seeds' standard deviation (of the mean) by that of the examples' part. With *phases*
a seed in five jumps by eight of these, like a task that a run learns late or not at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlbench.leaderboard.statistics import LEVEL, holm, student

Numbers = npt.NDArray[np.float64]
Rng = np.random.Generator
N_CLUSTERS = 400
REST = 0.3
"""Share of the examples' variance that is a seed's own."""
JUMP, JUMPS = 8.0, 0.2


class Setting(NamedTuple):
    """Rows that do not differ, and how they scatter."""

    seeds: int
    share: float
    has_phases: bool = False


def seed_means(rng: Rng, setting: Setting, shape: tuple[int, ...]) -> Numbers:
    """Means of each seed: (*shape, seeds), their own part of the examples' variance included."""
    size = (*shape, setting.seeds)
    means: Numbers = rng.normal(0.0, setting.share * np.sqrt(setting.seeds / 2), size)
    if setting.has_phases:
        means += JUMP * (rng.random(size) < JUMPS)
    return means + rng.normal(0.0, np.sqrt(REST / 2 * setting.seeds), size)


def error_rate(setting: Setting, trials: int) -> float:
    """The share of trials with p below LEVEL, by LEVEL."""
    rng = np.random.default_rng(0)
    a, b = (seed_means(rng, setting, (trials,)) for _ in range(2))
    difference = a.mean(-1) - b.mean(-1) + rng.normal(0.0, np.sqrt(1 - REST), trials)
    return float((p_of(rng, difference, a, b) < LEVEL).mean()) / LEVEL


def family_error(setting: Setting, rows: int, trials: int) -> float:
    """How often Holm's procedure finds any of `rows` to differ from one that is no better."""
    rng = np.random.default_rng(1)
    one, others = (seed_means(rng, setting, (trials, size)) for size in (1, rows))
    own = rng.normal(0.0, np.sqrt((1 - REST) / 2), (trials, rows + 1))
    difference = one.mean(-1) - others.mean(-1) + own[:, :1] - own[:, 1:]
    p = p_of(rng, difference, np.broadcast_to(one, others.shape), others)
    return float(np.mean([min(holm(trial.tolist())) < LEVEL for trial in p]))


def p_of(rng: Rng, difference: Numbers, a: Numbers, b: Numbers) -> Numbers:
    """The p values of differences whose examples' part has variance 1, estimated by clusters."""
    examples = rng.chisquare(N_CLUSTERS - 1, difference.shape) / (N_CLUSTERS - 1) - REST
    k = a.shape[-1]
    variances = [side.var(axis=-1, ddof=1) / k for side in (a, b)]
    freedoms = [np.full(difference.shape, k - 1.0)] * 2
    return student(difference, examples, variances, freedoms, N_CLUSTERS - 1.0)[2]
