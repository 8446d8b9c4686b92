from __future__ import annotations

import pytest

from vlbench.metrics.captions import References, rouge_l
from vlbench.metrics.cider import CiderD

Tokens = dict[str, list[str]]


def ours(gold: Tokens, predicted: Tokens) -> tuple[float, list[float]]:
    return CiderD(list(gold.values())).score([predicted[image][0] for image in gold])


def test_every_image_scores_as_officially_to_the_last_bit(tokens: tuple[Tokens, Tokens]) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    overall, scores = Cider().compute_score(*tokens)
    assert ours(*tokens) == (overall, list(scores))
    assert 0 < overall < 10
    gold, predicted = tokens
    texts = [predicted[image][0] for image in gold]
    overall, scores = Rouge().compute_score(*tokens)
    assert rouge_l(gold, texts) == (overall, list(scores))
    assert References(gold).bleu(texts) == Bleu(4).compute_score(*tokens, verbose=0)


def test_a_single_image_scores_nothing() -> None:
    assert ours({"1": ["a dog"]}, {"1": ["a dog"]}) == (0, [0])


def test_a_caption_equal_to_its_only_reference_scores_ten() -> None:
    gold = {"1": ["a dog runs very fast"], "2": ["the red mat"]}
    assert ours(gold, gold) == (pytest.approx((10 + 7.5) / 2), pytest.approx([10, 7.5]))


def test_a_longer_caption_is_punished_by_its_bigrams() -> None:
    gold = {"1": ["dog"], "2": ["cat"]}
    _, (score, _) = ours(gold, {"1": ["dog dog"], "2": ["cat"]})
    # Unigrams: min(2w, w) w / (2w w) = 1/2, one bigram more; of four n only the first counts.
    assert score == pytest.approx(10 / 4 * 0.5 * 2.718281828459045 ** (-1 / 72))
