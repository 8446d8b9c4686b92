"""How often the test finds a difference where there is none, at the levels that Holm reads.

`python benchmarks/error_rate.py [--trials N]` simulates rows with normal scores that do not differ
and prints, as multiples of the level, how often p is below it, then how often Holm's procedure over
many rows finds any difference. *Share* is the seeds' standard deviation (of the mean) by that of
the examples' part. With *phases* a seed in five jumps by eight of these, like a task that a run
learns late or not at all. *One side*: only one of the two rows scatters over seeds. Nothing here is
measured on models.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlbench.leaderboard.statistics import LEVEL, holm, student

Numbers = npt.NDArray[np.float64]
Rng = np.random.Generator
LEVELS = (0.05, 0.01, 0.05 / 27)
SHARES = (0.0, 0.5, 1.0, 1.8, 3.0, 5.0)
N_CLUSTERS = 400
REST = 0.3
"""Share of the examples' variance that is a seed's own."""
JUMP, JUMPS = 8.0, 0.2


class Setting(NamedTuple):
    """Rows that do not differ, and how they scatter."""

    seeds: int
    share: float
    has_phases: bool = False
    is_one_sided: bool = False


def seed_means(rng: Rng, setting: Setting, shape: tuple[int, ...], spread: float) -> Numbers:
    """Means of each seed: (*shape, seeds), their own part of the examples' variance included."""
    size = (*shape, setting.seeds)
    means: Numbers = rng.normal(0.0, spread * np.sqrt(setting.seeds), size)
    if setting.has_phases:
        means += JUMP * (rng.random(size) < JUMPS)
    return means + rng.normal(0.0, np.sqrt(REST / 2 * setting.seeds), size)


def error_rates(setting: Setting, trials: int) -> list[float]:
    """The share of trials with p below each of the levels, by the level."""
    rng = np.random.default_rng(0)
    both = setting.share / np.sqrt(2)
    a = seed_means(rng, setting, (trials,), setting.share if setting.is_one_sided else both)
    b = seed_means(rng, setting, (trials,), 0.0 if setting.is_one_sided else both)
    difference = a.mean(-1) - b.mean(-1) + rng.normal(0.0, np.sqrt(1 - REST), trials)
    p = p_of(rng, difference, a, b)
    return [float((p < level).mean()) / level for level in LEVELS]


def family_error(setting: Setting, rows: int, trials: int) -> float:
    """How often Holm's procedure finds any of `rows` to differ from one that is no better."""
    rng = np.random.default_rng(1)
    spread = setting.share / np.sqrt(2)
    one = seed_means(rng, setting, (trials, 1), spread)
    others = seed_means(rng, setting, (trials, rows), spread)
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


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200_000)
    trials = parser.parse_args().trials
    names = "  ".join(f"p<{level:.4g}" for level in LEVELS)
    print(f"rate of p below a level, by the level\nseeds share phases one side  {names}")
    for seeds in (3, 5):
        for has_phases in (False, True):
            for is_one_sided in (False, True):
                for share in SHARES:
                    setting = Setting(seeds, share, has_phases, is_one_sided)
                    rates = "  ".join(f"{rate:7.2f}" for rate in error_rates(setting, trials))
                    marks = f"{'yes' if has_phases else '-':>6} {'yes' if is_one_sided else '-':>8}"
                    print(f"{seeds:5} {share:5g} {marks}  {rates}", flush=True)
    print(f"\nfamily-wise error at {100 * LEVEL:g} %\nseeds share phases     17 rows  26 rows")
    for seeds in (3, 5):
        for has_phases in (False, True):
            for share in SHARES:
                setting = Setting(seeds, share, has_phases)
                errors = [100 * family_error(setting, rows, trials // 40) for rows in (17, 26)]
                shown = "  ".join(f"{error:5.1f} %" for error in errors)
                print(
                    f"{seeds:5} {share:5g} {'yes' if has_phases else '-':>6}     {shown}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
