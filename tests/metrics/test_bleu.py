from __future__ import annotations

import math

import pytest
from pycocoevalcap.bleu.bleu import Bleu as Official

from vlbench.metrics.bleu import Bleu
from vlbench.metrics.ngrams import count_references, find_ngrams

Tokens = dict[str, list[str]]


def ours(gold: Tokens, predicted: Tokens) -> tuple[list[float], list[list[float]]]:
    counts = count_references(list(gold.values()))
    row_of = {ngram: row for row, ngram in enumerate(counts.ngrams)}
    bleu = Bleu(counts, [len(texts) for texts in gold.values()])
    return bleu.score([find_ngrams(predicted[image][0], row_of) for image in gold])


def test_every_image_scores_as_officially_to_the_last_bit(tokens: tuple[Tokens, Tokens]) -> None:
    assert ours(*tokens) == Official(4).compute_score(*tokens, verbose=0)


def test_a_word_counts_as_often_as_one_reference_has_it() -> None:
    (bleu_1, *_), _ = ours({"1": ["the cat", "the the mat"]}, {"1": ["the the the the"]})
    assert bleu_1 == pytest.approx(2 / 4)


def test_the_length_is_compared_with_the_closest_reference() -> None:
    (bleu_1, *_), _ = ours({"1": ["a b c d e f", "a b c"]}, {"1": ["a b"]})
    assert bleu_1 == pytest.approx(math.exp(1 - 3 / 2))
