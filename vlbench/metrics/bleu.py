"""BLEU-1 to 4 by pycocoevalcap's scorer, on n-grams of the references that were counted once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pycocoevalcap.bleu.bleu_scorer import BleuScorer

from vlbench.metrics.ngrams import Found, N, NgramCounts


class Bleu:
    """Scores candidates against one set of references."""

    def __init__(self, counts: NgramCounts, references: Sequence[int]) -> None:
        """`references`: how many each image has, in the order they were counted in."""
        lengths = [int(length) for length in counts.per_reference(counts.counts)[:, 0]]
        ends = [0, *counts.ends()]
        firsts = [0]
        for number in references:
            firsts.append(firsts[-1] + number)
        rows, numbers = counts.rows.tolist(), counts.counts.tolist()
        self.lengths = [lengths[start:end] for start, end in pairwise(firsts)]
        self.most = []
        for start, end in pairwise(ends[first] for first in firsts):
            most: dict[int, int] = {}
            for row, count in zip(rows[start:end], numbers[start:end], strict=True):
                if count > most.get(row, 0):
                    most[row] = count
            self.most.append(most)

    def score(self, candidates: Sequence[list[Found]]) -> tuple[list[float], list[list[float]]]:
        """BLEU-1 to 4 over all images, and each of them image by image."""
        scorer = BleuScorer(n=N)
        scorer.crefs = list(self.lengths)
        scorer.ctest = [
            _compare(candidate, most, lengths)
            for candidate, most, lengths in zip(candidates, self.most, self.lengths, strict=True)
        ]
        bleu, bleus = scorer.compute_score(option="closest", verbose=0)
        return bleu, bleus


def _compare(candidate: list[Found], most: dict[int, int], lengths: list[int]) -> dict[str, object]:
    """What the scorer adds up: an n-gram counts as often as one reference has it, at the most."""
    length = sum(each.times for each in candidate if each.n == 0)
    correct = [0] * N
    for row, n, count in candidate:
        correct[n] += min(count, most.get(row, 0))
    guess = [max(0, length - n) for n in range(N)]
    return {"testlen": length, "reflen": lengths, "guess": guess, "correct": correct}
