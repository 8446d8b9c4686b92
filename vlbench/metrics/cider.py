"""CIDEr-D (Vedantam et al., 2015), bit for bit as pycocoevalcap's, with the references done once.

An n-gram weighs its count times log(images / images whose references hold it). A candidate scores
against a reference, for n = 1 to 4, the clipped product of their weights over the product of their
norms, less the more their lengths differ; then the mean over n and references, x 10. "Length" is
the number of bigrams, as in the official code. All sums keep the official order of their terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vlbench.metrics.ngrams import UNKNOWN, Found, N, NgramCounts

SIGMA = 6.0
Vectors = list[list[tuple[int, float]]]
"""For each n, the n-grams that some reference holds: row and weight."""


class CiderD:
    """Scores candidates against one set of references, whose weights are computed here."""

    def __init__(self, counts: NgramCounts, references: Sequence[int]) -> None:
        """`references`: how many each image has, in the order they were counted in."""
        self.references = references
        self.log_images = float(np.log(float(len(references))))
        logs = {n: _log(n) for n in np.unique(counts.images).tolist()}
        self.idf = [self.log_images - logs[n] for n in counts.images.tolist()]
        weights, squares = self._weigh(counts)
        self.norms = np.sqrt(counts.per_reference(squares)).tolist()
        self.lengths = counts.per_reference(counts.counts)[:, 1].tolist()
        self.ends = counts.ends()
        self.rows, self.weights = counts.rows.tolist(), weights.tolist()

    def _weigh(self, counts: NgramCounts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(E,) weights and their squares; one of each kind is computed, by C's `pow` as there."""
        base = int(counts.counts.max(initial=0)) + 1
        kinds, which = np.unique(
            counts.images[counts.rows].astype(np.int64) * base + counts.counts, return_inverse=True
        )
        pairs = (divmod(kind, base) for kind in kinds.tolist())
        weights = [float(count) * (self.log_images - _log(images)) for images, count in pairs]
        return np.array(weights)[which], np.array([weight**2.0 for weight in weights])[which]

    def score(self, candidates: Sequence[list[Found]]) -> tuple[float, list[float]]:
        """The mean over images, and each one's score by its candidate's n-grams: 0 to 10."""
        scores = []
        first = 0
        for candidate, number in zip(candidates, self.references, strict=True):
            scores.append(self._image(candidate, range(first, first + number)))
            first += number
        return float(np.mean(np.array(scores))), scores

    def _image(self, candidate: list[Found], references: range) -> float:
        vectors: Vectors = [[] for _ in range(N)]
        sums = [0.0] * N
        for row, n, count in candidate:
            weight = float(count) * (self.log_images if row == UNKNOWN else self.idf[row])
            sums[n] += weight**2.0
            if row != UNKNOWN:
                vectors[n].append((row, weight))
        norms = [math.sqrt(each) for each in sums]
        length = sum(each.times for each in candidate if each.n == 1)
        totals = [0.0] * N
        for reference in references:
            for n, value in enumerate(self._similar(vectors, norms, length, reference)):
                totals[n] += value
        return float(np.mean(np.array(totals))) / len(references) * 10.0

    def _similar(
        self, vectors: Vectors, norms: list[float], length: int, reference: int
    ) -> list[float]:
        """The similarity for each n; an n-gram that the reference lacks would add zero."""
        start, end = self.ends[reference - 1] if reference else 0, self.ends[reference]
        held = dict(zip(self.rows[start:end], self.weights[start:end], strict=True))
        penalty = math.e ** (-((length - self.lengths[reference]) ** 2) / (2 * SIGMA**2))
        values = []
        for vector, norm, other in zip(vectors, norms, self.norms[reference], strict=True):
            value = 0.0
            for row, weight in vector:
                if row in held:
                    value += min(weight, held[row]) * held[row]
            if norm != 0 and other != 0:
                value /= norm * other
            values.append(value * penalty)
        return values


def _log(images: int) -> float:
    return float(np.log(max(1.0, float(images))))
