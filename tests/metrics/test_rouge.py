from __future__ import annotations

import pytest
from pycocoevalcap.rouge.rouge import Rouge

from vlbench.metrics.rouge import score

Tokens = dict[str, list[str]]


def test_every_image_scores_as_officially_to_the_last_bit(tokens: tuple[Tokens, Tokens]) -> None:
    gold, predicted = tokens
    overall, scores = Rouge().compute_score(gold, predicted)
    assert score(gold, [predicted[image][0] for image in gold]) == (overall, list(scores))


def test_precision_and_recall_are_the_best_over_the_references_each_by_itself() -> None:
    _, (found,) = score({"1": ["a b c d e f", "a"]}, ["a b c"])
    # Precision 3 of 3 from the first reference, recall 1 of 1 from the second.
    assert found == pytest.approx(1)


def test_an_empty_caption_equals_an_empty_reference() -> None:
    assert score({"1": [""], "2": ["a"]}, ["", ""]) == (0.5, [1, 0])


def test_the_common_words_need_not_stand_together_but_in_order() -> None:
    _, (found,) = score({"1": ["a x b y c"]}, ["c a b c a"])
    assert found == pytest.approx(3 / 5)
