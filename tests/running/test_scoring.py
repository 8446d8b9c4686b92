"""A result's values: every metric, every family, beside the majority."""

from __future__ import annotations

from typing import Any

import pytest

from vlbench.cards import find_tasks
from vlbench.data.example import Example
from vlbench.running.result import Value, majority_scored, score, values

(_, (GQA, COCO)) = find_tasks("gqa,coco")


def example(n: int, family: str, answer: str) -> Example:
    record = {"answer": answer, "imageId": "1", "types": {"detailed": family}, "question": "?"}
    return Example(str(n), "?", ("1",), {answer: 1.0}, record, family)


TRAIN = [example(n, "colour", "red") for n in range(3)] + [example(9, "exist", "yes")]
TEST = [
    example(0, "colour", "red"),
    example(1, "colour", "blue"),
    example(2, "exist", "no"),
    example(3, "count", "red"),
]


def test_the_majority_answers_each_family_as_training_mostly_does() -> None:
    floor = majority_scored(GQA, TRAIN, TEST)
    assert floor is not None
    assert floor.per_example == {"0": 1.0, "1": 0.0, "2": 0.0, "3": 1.0}  # count: the overall one


def test_there_is_a_value_over_all_and_one_per_family() -> None:
    scored = score(GQA, TEST, {"0": "red", "1": "blue", "2": "yes", "3": "2"})
    found = values(GQA, TEST, scored, majority_scored(GQA, TRAIN, TEST))
    assert found == [
        Value("accuracy", "", 50.0, 50.0, 4),
        Value("accuracy", "colour", 100.0, 50.0, 2),
        Value("accuracy", "count", 0.0, 100.0, 1),
        Value("accuracy", "exist", 0.0, 0.0, 1),
    ]


@pytest.mark.parametrize("targets", [{}, {"": 0.0}])
def test_training_examples_without_answers_give_an_empty_majority(targets: dict[str, Any]) -> None:
    train = [Example("0", "?", ("1",), targets, {}, "")]
    floor = majority_scored(GQA, train, TEST)
    assert floor is not None
    assert floor.metrics["accuracy"] == 0.0


def test_captions_have_no_majority() -> None:
    assert majority_scored(COCO, [], []) is None
