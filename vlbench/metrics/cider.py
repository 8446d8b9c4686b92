"""CIDEr-D (Vedantam et al., 2015), bit for bit as pycocoevalcap's, with the references done once.

An n-gram weighs its count times log(images / images whose references hold it). A candidate scores
against a reference, for n = 1 to 4, the clipped product of their weights over the product of their
norms, less the more their lengths differ; then the mean over n and references, x 10. "Length" is
the number of bigrams, as in the official code. All sums keep the official order of their terms.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from pycocoevalcap.cider.cider_scorer import precook

N = 4
SIGMA = 6.0
Ngram = tuple[str, ...]


class Vector(NamedTuple):
    """The n-grams of one caption."""

    weights: dict[Ngram, float]
    """In order of n, and of their first appearance."""
    norms: list[float]
    """(N,) for each n."""
    length: int


class CiderD:
    """Scores candidates against one set of references, whose weights are computed here."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        """`references`: per image the tokens of its captions, spaces between."""
        counts = [[precook(text) for text in own] for own in references]
        images = Counter(chain.from_iterable({*chain.from_iterable(own)} for own in counts))
        self.log_images = float(np.log(float(len(references))))
        self.idf = {ngram: self.log_images - _log(number) for ngram, number in images.items()}
        self.references = [[self._vector(caption) for caption in own] for own in counts]

    def score(self, candidates: Sequence[str]) -> tuple[float, list[float]]:
        """The mean over images, and each image's score by its candidate's tokens: 0 to 10."""
        scores = [
            self._image(self._vector(precook(text)), own)
            for text, own in zip(candidates, self.references, strict=True)
        ]
        return float(np.mean(np.array(scores))), scores

    def _vector(self, counts: Mapping[Ngram, int]) -> Vector:
        weights: dict[Ngram, float] = {}
        squares, length = [0.0] * N, 0
        for ngram, count in counts.items():
            weight = weights[ngram] = float(count) * self.idf.get(ngram, self.log_images)
            squares[len(ngram) - 1] += weight**2.0
            if len(ngram) == 2:
                length += count
        return Vector(weights, [math.sqrt(square) for square in squares], length)

    def _image(self, candidate: Vector, references: Sequence[Vector]) -> float:
        weights = [(ngram, w) for ngram, w in candidate.weights.items() if ngram in self.idf]
        totals = [0.0] * N
        for reference in references:
            values = [0.0] * N
            for ngram, weight in weights:
                other = reference.weights.get(ngram)
                if other is not None:  # another n-gram would add zero
                    values[len(ngram) - 1] += min(weight, other) * other
            penalty = math.e ** (-((candidate.length - reference.length) ** 2) / (2 * SIGMA**2))
            for n, norms in enumerate(zip(candidate.norms, reference.norms, strict=True)):
                if 0 not in norms:
                    values[n] /= norms[0] * norms[1]
                totals[n] += values[n] * penalty
        return float(np.mean(np.array(totals))) / len(references) * 10.0


@lru_cache(maxsize=1 << 12)
def _log(images: int) -> float:
    return float(np.log(max(1.0, float(images))))
