from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from vlbench.metrics.vqa import (
    CONTRACTIONS,
    VERSIONS,
    normalise,
    score,
    strip_lines,
    strip_punctuation,
    unify_words,
)

Golden = Callable[[str], Any]


def annotation(answers: Sequence[str], **more: str) -> dict[str, Any]:
    records = [
        {"answer": text, "answer_confidence": "yes", "answer_id": number}
        for number, text in enumerate(answers, 1)
    ]
    return {"answers": records, **more}


def one(answers: Sequence[str], prediction: str, version: str = "official-2016") -> float:
    return score({"1": annotation(answers)}, {"1": prediction}, version).metrics["accuracy"]


def test_equal_answer_records_drop_out_together() -> None:
    record = {"answer": "dog", "answer_confidence": "yes", "answer_id": 1}
    assert score({"1": {"answers": [record] * 10}}, {"1": "dog"}).metrics["accuracy"] == 0


@pytest.mark.parametrize(
    ("answers", "prediction", "in_2016", "in_2021"),
    [
        (["two"] * 9 + ["2"], "two", 30, 100),  # answers keep their number words in 2016
        (["yes"] * 10, "Yes", 100, 0),  # unanimous answers: nothing is normalised in 2021
        (["the dog"] * 10, "the dog", 0, 100),
        (["red/blue"] * 9 + ["red"], "red blue", 100, 100),
        (["yes\n"] * 9 + ["yes"], "yes", 30, 100),  # answers are not stripped in 2016
        (["Dog"] * 9 + ["Dog "], "dog", 0, 0),  # unanimous once they are stripped
    ],
)
def test_the_two_official_versions_differ_in_what_they_normalise(
    answers: list[str], prediction: str, in_2016: float, in_2021: float
) -> None:
    assert one(answers, prediction, "official-2016") == pytest.approx(in_2016)
    assert one(answers, prediction, "official-2021") == pytest.approx(in_2021)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_golden_question_scores_as_officially(golden: Golden, version: str) -> None:
    file = golden("metrics/vqa/v2_mscoco_golden_annotations.json")
    results = golden("metrics/vqa/v2_OpenEnded_mscoco_golden_results.json")
    expected = golden(f"metrics/vqa/expected_{version.replace('-', '_')}.json")
    scored = score(
        {str(record["question_id"]): record for record in file["annotations"]},
        {str(record["question_id"]): record["answer"] for record in results},
        version,
    )
    found = {each: 100 * value for each, value in scored.per_example.items()}
    assert found == pytest.approx(expected["per_question"], abs=1e-9)
    overall = expected["overall_mean_of_unrounded"]
    assert scored.metrics["accuracy"] == pytest.approx(overall, abs=1e-9)


def test_every_step_of_normalisation_is_the_official_one(golden: Golden) -> None:
    for case in golden("metrics/vqa/expected_normalise_steps.json"):
        stripped = strip_lines(case["in"])
        punctuation = strip_punctuation(stripped)
        assert [stripped, punctuation, unify_words(punctuation)] == [
            case["strip"],
            case["punct"],
            case["punct_digit_article"],
        ]


def test_contractions_are_the_official_table(golden: Golden) -> None:
    table = {row["in"]: row["out"] for row in golden("metrics/vqa/contraction_table.json")}
    assert {word: CONTRACTIONS.get(word, word) for word in table} == table
    assert set(CONTRACTIONS) <= set(table)


def test_the_authors_own_vqa_metric_gives_the_same(golden: Golden) -> None:
    cases = golden("methods/vqa_metric.json")
    for text, steps in cases["normalisation"].items():
        stripped = strip_lines(text)
        assert strip_punctuation(stripped) == steps["punct"]
        assert normalise(stripped) == steps["punct_digit_article"] == steps["normalize_answer"]
    for case, percent in cases["raw_accuracy_percent_per_question_and_prediction"].items():
        question, _, prediction = case.partition("|")
        answers = cases["ground_truth"][question]
        assert one(answers, prediction) == pytest.approx(percent, abs=1e-9)
