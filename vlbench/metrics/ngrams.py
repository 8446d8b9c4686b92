"""The n-grams of tokens, of a set of references and of a candidate, for BLEU and CIDEr-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N = 4
UNKNOWN = -1
"""The row of an n-gram that no reference holds."""


class Found(NamedTuple):
    """One n-gram of a candidate."""

    row: int
    """Which of the references' n-grams it is."""
    n: int
    """0 for a single word, up to 3."""
    times: int


class NgramCounts(NamedTuple):
    """The n-grams of all references, in the order in which they appear.

    Shapes: V n-grams, R references, E pairs of a reference and an n-gram in it.
    """

    ngrams: list[str]
    """(V,) words with a space between."""
    images: NDArray[np.int32]
    """(V,) how many images have it in their references."""
    rows: NDArray[np.int32]
    """(E,) which n-gram, reference after reference and by n within."""
    counts: NDArray[np.int32]
    """(E,) how often the reference holds it."""
    sizes: NDArray[np.int32]
    """(R, N) how many pairs a reference has for each n."""

    def per_reference(self, values: NDArray[Any]) -> NDArray[Any]:
        """(E,) -> (R, N): the sums for each reference and n, added one by one in their order."""
        segments = np.repeat(np.arange(self.sizes.size), self.sizes.ravel())  # (E,)
        sums = np.bincount(segments, weights=values, minlength=self.sizes.size)
        return sums.reshape(-1, N)

    def ends(self) -> list[int]:
        """(R,) where each reference's pairs end."""
        return [int(end) for end in np.cumsum(self.sizes.sum(axis=1))]


def count_ngrams(tokens: str) -> dict[str, int]:
    """N-gram -> how often it occurs, for n = 1 to 4, each in order of first appearance."""
    words = tokens.split()
    counts: dict[str, int] = {}
    for n in range(1, N + 1):
        for start in range(len(words) - n + 1):
            ngram = " ".join(words[start : start + n])
            counts[ngram] = counts.get(ngram, 0) + 1
    return counts


def find_ngrams(tokens: str, row_of: dict[str, int]) -> list[Found]:
    """The n-grams of a candidate among those of the references."""
    return [
        Found(row_of.get(ngram, UNKNOWN), ngram.count(" "), count)
        for ngram, count in count_ngrams(tokens).items()
    ]


def count_references(references: Sequence[Sequence[str]]) -> NgramCounts:
    """The n-grams in the tokens of each image's references."""
    row_of: dict[str, int] = {}
    images: list[int] = []
    rows: list[int] = []
    counts: list[int] = []
    sizes: list[list[int]] = []
    for texts in references:
        in_image = set()
        for text in texts:
            found = count_ngrams(text)
            mine = [row_of.setdefault(ngram, len(row_of)) for ngram in found]
            images.extend([0] * (len(row_of) - len(images)))
            rows.extend(mine)
            counts.extend(found.values())
            sizes.append([0] * N)
            for ngram in found:
                sizes[-1][ngram.count(" ")] += 1
            in_image.update(mine)
        for row in in_image:
            images[row] += 1
    arrays = (np.array(each, dtype=np.int32) for each in (images, rows, counts, sizes))
    return NgramCounts(list(row_of), *arrays)
