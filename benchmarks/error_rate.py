"""How often the test finds a difference where there is none: nominally in 5 % of the cases.

`python benchmarks/error_rate.py [--trials N]` draws scores of two methods that do not differ, in
many settings, and prints the share of p < 0.05 for each; then the same for normal scores, where so
many trials are cheap that chance hardly shows. Nothing here is measured on models.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vlbench.leaderboard import draws
from vlbench.leaderboard.draws import student
from vlbench.leaderboard.pairwise import combined
from vlbench.leaderboard.statistics import Matrix, compare_scores

Rng = np.random.Generator
DRAWS = 1000
"""A share over thousands of trials needs fewer draws in each than one comparison does."""


class Setting(NamedTuple):
    """Where two equal methods are compared."""

    name: str
    sizes: tuple[int, ...]
    seeds: int
    seed_share: float
    """Standard deviation of a seed's mean difference, about, in units of the examples' mean's."""
    scores: Callable[[Rng, Matrix], Matrix]
    """Scores of one method from their expectation's logits."""


def right_or_wrong(rng: Rng, logits: Matrix) -> Matrix:
    """Scores of 0 and 1."""
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float64)


def seeds_agree(rng: Rng, logits: Matrix) -> Matrix:
    """Scores of 0 and 1, where a method's seeds fail on the same examples."""
    return (rng.random(logits.shape[1]) < 1 / (1 + np.exp(-logits))).astype(np.float64)


def like_cider(rng: Rng, logits: Matrix) -> Matrix:
    """Skewed positive scores."""
    scores: Matrix = rng.gamma(1.5, 1.0, logits.shape) * np.exp(0.5 * logits)
    return scores


SHARES, RESTS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 20.0), (0.0, 0.25, 0.5, 0.75, 1.0)
ONE, FOUR = (400,), (300, 200, 150, 100)
KINDS = {"right or wrong": right_or_wrong, "seeds agree": seeds_agree, "like CIDEr": like_cider}
SETTINGS = [
    Setting(f"{kind}, {len(sizes)} task{'s' * (len(sizes) > 1)}", sizes, seeds, share, scores)
    for kind, scores in KINDS.items()
    for sizes in (ONE, FOUR)
    for seeds, share in ((1, 0.0), (3, 0.0), (3, 1.0), (3, 5.0), (5, 0.0), (5, 1.0), (5, 5.0))
]


def error_rate(setting: Setting, trials: int, seed: int = 0) -> float:
    """The share of trials with p < 0.05."""
    rng = np.random.default_rng(seed)
    found = [compare_scores(*_equal_methods(rng, setting)).p < 0.05 for _ in range(trials)]
    return float(np.mean(found))


def _equal_methods(rng: Rng, setting: Setting) -> tuple[list[Matrix], list[Matrix]]:
    """Two methods whose seeds and examples differ, but not their expected score."""
    shifts = rng.normal(0.0, 1.0, (2, setting.seeds, 1))
    sides: tuple[list[Matrix], list[Matrix]] = ([], [])
    for n in setting.sizes:
        hard = rng.normal(0.0, 1.0, n)  # for both
        unit = setting.seed_share * 2.5 / np.sqrt(sum(setting.sizes))
        for side, shift in zip(sides, shifts, strict=True):
            taste = rng.normal(0.0, 1.0, n)  # examples that suit one method
            side.append(setting.scores(rng, hard + taste + unit * shift))
    return sides


def normal_rate(seeds: int, share: float, rest: float, trials: int = 100_000) -> float:
    """The share of p < 0.05 with normal scores; `rest` of the examples' variance is by seed."""
    rng = np.random.default_rng(seeds)
    by_seed = rng.normal(0.0, np.sqrt(share**2 + rest), (trials, seeds))
    means = by_seed + rng.normal(0.0, np.sqrt(1 - rest), (trials, 1))
    rests = np.full(trials, rest / seeds)
    found = combined(means, 1 - rest + rests, rests, most=1000)
    p = student(np.abs(found.difference) / np.sqrt(found.variance), found.freedom)
    return float((p < 0.05).mean())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    draws.DRAWS = DRAWS
    print(f"{'scores':<26}{'seeds':>6}{'seed share':>12}{'p < 0.05':>10}")
    for setting in SETTINGS:
        rate = 100 * error_rate(setting, trials)
        share = f"{setting.seed_share:g}"
        print(f"{setting.name:<26}{setting.seeds:>6}{share:>12}{rate:>9.1f} %", flush=True)
    noise = 196 * (0.05 * 0.95 / trials) ** 0.5
    print(f"{trials} trials each: a true 5 % shows as {5 - noise:.1f} to {5 + noise:.1f} %.\n")
    print("normal scores: seeds, then the lowest and the highest share of p < 0.05")
    for seeds in (2, 3, 4, 5, 10):
        rates = [100 * normal_rate(seeds, *each) for each in itertools.product(SHARES, RESTS)]
        print(f"{seeds:>2} {min(rates):>6.1f} % {max(rates):>6.1f} %")


if __name__ == "__main__":
    main()
