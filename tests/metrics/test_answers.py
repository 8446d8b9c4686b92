"""ANLS and token F1 as the official scripts have them, and exact match with several answers."""

from __future__ import annotations

from typing import Any

import pytest

from vlbench.errors import DataError
from vlbench.metrics import Metric
from vlbench.metrics.answers import anls, edit_distance, shared_words, similarity, token_f1
from vlbench.metrics.labels import accuracy


def score(metric: Metric, answers: Any, prediction: str) -> float:
    return metric({"1": {"answers": answers}}, {"1": prediction, "other": ""}).per_example["1"]


@pytest.mark.parametrize(
    ("answer", "prediction", "value"),
    [
        ("Coca Cola", "coca  cola", 1.0),  # neither case nor spaces are a distance
        ("coke", "cake", 0.75),
        ("abcd", "abxy", 0.5),  # the script keeps what is at the threshold
        ("abc", "axy", 0.0),
        ("ab", "ab          x", 11 / 13),  # the length is of the text as it is
        ("", "", 1.0),
    ],
)
def test_anls_is_that_of_docvqa_s_script(answer: str, prediction: str, value: float) -> None:
    assert similarity(answer, prediction) == pytest.approx(value)


def test_edit_distance_counts_insertions_deletions_and_replacements() -> None:
    words = (("kitten", "sitting", 3), ("", "abc", 3), ("flaw", "lawn", 2), ("same", "same", 0))
    for first, second, distance in words:
        assert edit_distance(first, second) == edit_distance(second, first) == distance


@pytest.mark.parametrize(
    ("answer", "prediction", "value"),
    [
        ("The red car.", "red car", 1.0),
        ("a red car", "red bus", 0.5),
        ("red red", "red", 2 / 3),
        ("the", "a", 0.0),  # as in SQuAD 1.1: nothing is left of either
    ],
)
def test_token_f1_is_that_of_squad(answer: str, prediction: str, value: float) -> None:
    assert shared_words(answer, prediction) == pytest.approx(value)


def test_the_nearest_answer_counts() -> None:
    assert score(anls, ["coke", "cola"], "Cola") == 1
    assert score(token_f1, ["a red car", "blue"], "red") == pytest.approx(2 / 3)
    assert score(accuracy, ["coke", "Cola"], "cola") == 1
    assert score(accuracy, ["coke"], "cola") == 0
    assert anls({"1": {"answers": ["a"]}}, {"1": "a"}).metrics == {"anls": 100}
    assert token_f1({"1": {"answers": ["a b"]}}, {"1": "b"}).metrics == {"f1": 100}


@pytest.mark.parametrize("answers", [None, [], "red", ["red", 3]])
@pytest.mark.parametrize("metric", [anls, token_f1])
def test_an_annotation_without_answers_is_named(metric: Metric, answers: Any) -> None:
    with pytest.raises(DataError, match="Example 1: 'answers' should be a list of texts"):
        score(metric, answers, "red")
    if answers != "red":
        with pytest.raises(DataError, match="Example 1: 'label' should be text"):
            score(accuracy, answers, "red")
