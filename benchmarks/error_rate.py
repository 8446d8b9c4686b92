"""How often the leaderboard's test errs, and what it sees, on simulated rows.

`python benchmarks/error_rate.py` prints for three and five seeds how often equal rows have p below
a level (as a multiple of it), how often Holm's procedure over 26 rows finds any difference, how
often a difference of 8 points is seen at the level of the smallest of 27, and how often rows match
that are equal or as far apart as the margin. It ends with 1 where with five seeds families err in
more than 6 %, or rows that are a margin apart match in more than 6 %; three are printed to show why
five are needed.

*Share* is the seeds' standard deviation (of the mean) by that of the examples' part; runs of one
row scatter by 2.5 points. With *phases* a seed in five jumps, like a task that a run learns late or
not at all.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vlbench.leaderboard.statistics import LEVEL, MARGIN, Test, holm, student, verdict

Numbers = npt.NDArray[np.float64]
Rng = np.random.Generator
N_CLUSTERS = 400
REST = 0.3
"""Share of the examples' variance that is a seed's own."""
JUMP, JUMPS = 8.0, 0.2
"""Standard errors of the examples' part that a seed jumps by, and the share of seeds that do."""
SEED_SD = 2.5  # points
DIFFERENCE = 8.0  # points
ROWS = 26
LEVELS = (LEVEL, 0.01, LEVEL / (ROWS + 1))
BAR = 0.06


class Setting(NamedTuple):
    """How the runs of rows scatter."""

    seeds: int
    share: float
    has_phases: bool = False

    @property
    def points(self) -> float:
        """Points of a standard error of the examples' part; 1 where seeds do not scatter."""
        return SEED_SD * (2 / self.seeds) ** 0.5 / self.share if self.share else 1.0


def seed_means(rng: Rng, setting: Setting, shape: tuple[int, ...]) -> Numbers:
    """Means of each seed: (*shape, seeds), their own part of the examples' variance included."""
    size = (*shape, setting.seeds)
    means: Numbers = rng.normal(0.0, setting.share * np.sqrt(setting.seeds / 2), size)
    if setting.has_phases:
        means += JUMP * (rng.random(size) < JUMPS)
    return means + rng.normal(0.0, np.sqrt(REST / 2 * setting.seeds), size)


def pairs(setting: Setting, trials: int, points: float = 0.0) -> list[Test]:
    """Tests of pairs of rows that are so many points apart."""
    rng = np.random.default_rng(0)
    a, b = (seed_means(rng, setting, (trials,)) for _ in range(2))
    apart = a.mean(-1) - b.mean(-1) + rng.normal(0.0, np.sqrt(1 - REST), trials)
    apart += points / setting.points
    drawn = np.stack([apart, *tested(rng, apart, a, b)])
    drawn[:2] *= setting.points
    return [Test(*own, 1, (setting.seeds,) * 2) for own in drawn.T.tolist()]


def family_error(setting: Setting, rows: int, trials: int) -> float:
    """How often Holm's procedure finds any of `rows` to differ from one that is no better."""
    rng = np.random.default_rng(1)
    one, others = (seed_means(rng, setting, (trials, size)) for size in (1, rows))
    own = rng.normal(0.0, np.sqrt((1 - REST) / 2), (trials, rows + 1))
    difference = one.mean(-1) - others.mean(-1) + own[:, :1] - own[:, 1:]
    p = tested(rng, difference, np.broadcast_to(one, others.shape), others)[2]
    return float(np.mean([min(holm(trial.tolist())) < LEVEL for trial in p]))


def tested(
    rng: Rng, difference: Numbers, a: Numbers, b: Numbers
) -> tuple[Numbers, Numbers, Numbers]:
    """The test of differences whose examples' part has variance 1, estimated by clusters."""
    examples = rng.chisquare(N_CLUSTERS - 1, difference.shape) / (N_CLUSTERS - 1) - REST
    k = a.shape[-1]
    variances = [side.var(axis=-1, ddof=1) / k for side in (a, b)]
    freedoms = [np.full(difference.shape, k - 1.0)] * 2
    return student(difference, examples, variances, freedoms, N_CLUSTERS - 1.0)


def rate(tests: list[Test], level: float) -> float:
    """The share of tests with p below a level."""
    return float(np.mean([test.p < level for test in tests]))


def match_rate(tests: list[Test]) -> float:
    """The share of tests by which A matches B."""
    return float(np.mean([verdict(test, test.p, MARGIN) == "matches" for test in tests]))


def main() -> None:
    """Print the table; end with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=80_000, help="pairs a setting")
    trials = parser.parse_args().trials
    heads = ["seeds", "share", "phases", *(f"p < {level:.2g}" for level in LEVELS)]
    heads += [f"{ROWS} tests", f"sees {DIFFERENCE:g}", "equal match", "margin matches"]
    print("| " + " | ".join(heads) + " |\n|" + " --: |" * len(heads))
    is_missed = False
    for k in (3, 5):
        for share in (0.0, 1.0, 1.8, 3.0):
            for has_phases in (False, True):
                setting = Setting(k, share, has_phases)
                equal = pairs(setting, trials)
                of_family = family_error(setting, ROWS, trials // 20)
                cells = [f"{rate(equal, level) / level:.2f}" for level in LEVELS]
                cells.append(f"{100 * of_family:.1f} %")
                wrong = 0.0
                if share:
                    cells.append(
                        f"{100 * rate(pairs(setting, trials, DIFFERENCE), LEVELS[-1]):.0f} %"
                    )
                    wrong = match_rate(pairs(setting, trials, MARGIN))
                    cells += [f"{100 * match_rate(equal):.0f} %", f"{100 * wrong:.1f} %"]
                else:
                    cells += [""] * 3
                is_missed |= k >= 5 and max(of_family, wrong) > BAR
                print(
                    f"| {k} | {share:g} | {'yes' * has_phases} | {' | '.join(cells)} |", flush=True
                )
    raise SystemExit(is_missed)


if __name__ == "__main__":
    main()
