"""Caption scores of COCO and VALUE: CIDEr-D, BLEU-1 to 4, ROUGE-L and METEOR, as pycocoevalcap's.

Tokens are those of Stanford's PTBTokenizer without punctuation. CIDEr weighs n-grams by how many
images hold them, so every score depends on the whole set; on a single image it is 0. VALUE's tasks
(TVC, YC2C) replace every character outside ASCII with a space, on both sides.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from itertools import chain
from typing import NamedTuple

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer

from vlbench.errors import DataError
from vlbench.metrics import Annotations, Predictions, Scored, check_ids
from vlbench.metrics.java import one_meteor, tokenize

ONE_IMAGE = "needs two images or more, as n-grams weigh by how many hold them; officially 0.00"
N = 4
SIGMA = 6.0  # how CIDEr-D punishes a difference in length
BETA = 1.2  # the weight of recall in ROUGE-L
Ngram = tuple[str, ...]


def score(
    annotations: Annotations, predictions: Predictions, meteor: bool = True, ascii: bool = False
) -> Scored:
    """All caption scores x 100; every annotation holds `captions`, its reference texts."""
    references = {}
    for image in check_ids(annotations, predictions):
        captions = annotations[image].get("captions")
        if not captions:
            raise DataError(f"Image {image}: the annotation has no captions.")
        references[image] = captions
    if ascii:
        strip = partial(re.compile("[^\0-\x7f]").sub, " ")
        references = {image: [*map(strip, texts)] for image, texts in references.items()}
        predictions = {image: strip(text) for image, text in predictions.items()}
    return evaluate(references, predictions, meteor)


score_without_meteor = partial(score, meteor=False)
score_value = partial(score, ascii=True)
score_value_without_meteor = partial(score_value, meteor=False)


def evaluate(
    references: Mapping[str, Sequence[str]], candidates: Mapping[str, str], meteor: bool = True
) -> Scored:
    """The scores of one candidate caption per image against the image's references."""
    # METEOR's Java reads its tables for six seconds: it starts first and does so meanwhile.
    with one_meteor(at_once=True) if meteor else nullcontext() as scorer:
        prepared = prepare(tuple(map(tuple, references.values())))
        tokens = tokenize(candidates[image] for image in references)
        scores = prepared.score(tokens)
        if scorer is not None:
            scores["meteor"] = scorer.score(prepared.tokens, tokens)
    per_image = {
        name: {image: float(value) for image, value in zip(references, values, strict=True)}
        for name, (_, values) in scores.items()
    }
    return Scored(
        {name: 100 * float(overall) for name, (overall, _) in scores.items()},
        per_image["cider"],
        undefined={"cider": ONE_IMAGE} if len(tokens) == 1 else {},
        per_metric=per_image,
    )


class Caption(NamedTuple):
    """The n-grams of one caption."""

    counts: Counter[Ngram]  # in order of n, and of their first appearance, as officially
    norms: list[float]  # (N,) of CIDEr's weights, for each n
    words: int


class References:
    """A set of reference captions ready for scoring, bit for bit as pycocoevalcap does.

    CIDEr-D (Vedantam et al., 2015): an n-gram weighs its count times log(images / images whose
    references hold it). A candidate scores against a reference, for n = 1 to 4, the clipped product
    of their weights over the product of their norms, less the more their numbers of bigrams differ;
    then the mean over n and references, x 10. All sums keep the official order of their terms.
    """

    def __init__(self, tokens: list[list[str]]) -> None:
        self.tokens = tokens
        counts = [[_count_ngrams(text) for text in texts] for texts in tokens]
        images = Counter(chain.from_iterable(set().union(*own) for own in counts))
        self.log_images = float(np.log(float(len(tokens))))
        idf = {n: self.log_images - float(np.log(float(n))) for n in set(images.values())}
        self.idf = {ngram: idf[n] for ngram, n in images.items()}
        self.captions = [[*map(self._caption, *pair)] for pair in zip(tokens, counts, strict=True)]

    def score(self, candidates: Sequence[str]) -> dict[str, tuple[float, Sequence[float]]]:
        """Metric -> its score over all images, and each image's by its candidate's tokens."""
        cider, bleu = [], BleuScorer(n=N)
        for text, references in zip(candidates, self.captions, strict=True):
            candidate = self._caption(text, _count_ngrams(text))
            value, matches = self._compare(candidate, references)
            cider.append(value)
            lengths = {"reflen": [r.words for r in references], "testlen": candidate.words}
            guesses = [max(0, candidate.words - n) for n in range(N)]
            bleu.ctest.append({**lengths, "guess": guesses, "correct": matches})
        overall, per_image = bleu.compute_score(option="closest", verbose=0)
        rouge = [rouge_l(text, texts) for text, texts in zip(candidates, self.tokens, strict=True)]
        return {
            "cider": (float(np.mean(np.array(cider))), cider),
            **{f"bleu_{n + 1}": (overall[n], per_image[n]) for n in range(N)},
            "rouge_l": (float(np.mean(np.array(rouge))), rouge),
        }

    def _caption(self, text: str, counts: Counter[Ngram]) -> Caption:
        squares, idf = [0.0] * N, self.idf
        for ngram, count in counts.items():
            weight = count * idf.get(ngram, self.log_images)
            squares[len(ngram) - 1] += weight**2.0
        return Caption(counts, [math.sqrt(square) for square in squares], len(text.split()))

    def _compare(
        self, candidate: Caption, references: Sequence[Caption]
    ) -> tuple[float, list[int]]:
        """CIDEr-D, 0 to 10, and BLEU's number of n-grams that a reference holds, for each n."""
        idf = self.idf
        known = [(g, count, idf[g]) for g, count in candidate.counts.items() if g in idf]
        matches: dict[Ngram, int] = {}
        totals = [0.0] * N
        for reference in references:
            values = [0.0] * N
            for ngram, count, weight in known:
                other = reference.counts.get(ngram)
                if other is not None:  # another n-gram would add zero
                    values[len(ngram) - 1] += min(count * weight, other * weight) * (other * weight)
                    matches[ngram] = max(matches.get(ngram, 0), min(count, other))
            longer = max(0, candidate.words - 1) - max(0, reference.words - 1)
            penalty = math.e ** (-(longer**2) / (2 * SIGMA**2))
            for n, norms in enumerate(zip(candidate.norms, reference.norms, strict=True)):
                if 0 not in norms:
                    values[n] /= norms[0] * norms[1]
                totals[n] += values[n] * penalty
        correct = [0] * N
        for ngram, count in matches.items():
            correct[len(ngram) - 1] += count
        return float(np.mean(np.array(totals))) / len(references) * 10.0, correct


def _count_ngrams(text: str) -> Counter[Ngram]:
    words = text.split()
    starts = [words[k:] for k in range(N)]
    return Counter(chain.from_iterable(zip(*starts[:n], strict=False) for n in range(1, N + 1)))


def rouge_l(candidate: str, references: Sequence[str]) -> float:
    """ROUGE-L as pycocoevalcap's, beta 1.2, bit for bit.

    An empty caption is one empty word. The longest common subsequence comes a row of its table at a
    time (Hyyrö, 2004), ten times as fast as officially: bits of `row` that are off tell where the
    length grows along the candidate, whose words' positions are bits too.
    """
    words = candidate.split(" ")
    positions: dict[str, int] = {}
    for number, word in enumerate(words):
        positions[word] = positions.get(word, 0) | 1 << number
    every = (1 << len(words)) - 1
    precision = recall = 0.0
    for others in (text.split(" ") for text in references):
        row = every
        for word in others:
            matched = row & positions.get(word, 0)
            row = ((row + matched) | (row - matched)) & every
        common = len(words) - row.bit_count()
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(others))
    both = recall + BETA**2 * precision
    return (1 + BETA**2) * precision * recall / both if both else 0.0


@lru_cache(maxsize=4)
def prepare(references: tuple[tuple[str, ...], ...]) -> References:
    """Make the captions of each image ready, once per set in a process."""
    tokens = tokenize(chain.from_iterable(references))
    if not any(tokens):
        raise DataError("No reference caption holds a word.")
    lines = iter(tokens)
    return References([[next(lines) for _ in captions] for captions in references])
