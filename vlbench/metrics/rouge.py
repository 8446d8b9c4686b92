"""ROUGE-L as COCO computes it: the longest common subsequence, beta 1.2, bit for bit.

Precision and recall are the best over the references, each by itself. Words are split at single
spaces, so that an empty caption is one empty word, equal to another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

BETA = 1.2


def score(
    references: Mapping[str, Sequence[str]], candidates: Sequence[str]
) -> tuple[float, list[float]]:
    """The mean over images, and each one's F-score: 0 to 1; tokens, in the references' order."""
    pairs = zip(candidates, references.values(), strict=True)
    scores = [_f_score(candidate, texts) for candidate, texts in pairs]
    return float(np.mean(np.array(scores))), scores


def _f_score(candidate: str, references: Sequence[str]) -> float:
    words = candidate.split(" ")
    places: dict[str, int] = {}
    for number, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << number
    precision = recall = 0.0
    for reference in references:
        others = reference.split(" ")
        common = _longest_common(places, len(words), others)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(others))
    if not precision or not recall:
        return 0.0
    return ((1 + BETA**2) * precision * recall) / (recall + BETA**2 * precision)


def _longest_common(places: Mapping[str, int], length: int, words: Sequence[str]) -> int:
    """The length of the longest common subsequence, a row of its table at a time (Hyyrö, 2004).

    Bits of `row` that are off tell where the length grows along the first text, whose words'
    places are bits too.
    """
    every = (1 << length) - 1
    row = every
    for word in words:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & every
    return length - row.bit_count()
