from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vlbench.errors import DataError
from vlbench.metrics.gqa import evaluate, score

Golden = Callable[[str], Any]


def question(answer: str, structural: str = "query", **more: Any) -> dict[str, Any]:
    types = {"structural": structural, "semantic": "attr", "detailed": "directWhich"}
    return {
        "question": "Which color is it?",
        "answer": answer,
        "isBalanced": True,
        "types": types,
        "entailed": [],
        "semantic": [
            {"operation": "select", "argument": "cup (1)"},
            {"operation": "query", "argument": "color"},
        ],
        "groups": {"global": None},
        **more,
    }


def test_consistency_is_accuracy_on_what_right_answers_entail() -> None:
    questions = {
        "1": question("red", entailed=["1", "2", "3"]),
        "2": question("yes", "verify"),
        "3": question("no", "verify", isBalanced=False),
        "4": question("blue", entailed=["2"]),
    }
    predictions = {"1": "red", "2": "yes", "3": "yes", "4": "red"}
    assert score(questions, predictions).metrics["consistency"] == 50
    without = {each: text for each, text in predictions.items() if each != "3"}
    assert "consistency" not in score(questions, without).metrics
    assert score(questions, {**without, "1": "blue"}).metrics["consistency"] == 0  # not needed


def test_validity_and_plausibility_need_the_choices() -> None:
    common = question("color")
    common["types"] = {**common["types"], "detailed": "objThisCommon"}
    questions = {"1": question("red"), "2": common}
    predictions = {"1": "blue", "2": "shape"}
    assert "validity" not in evaluate(questions, predictions).metrics
    choices = {"1": {"valid": ["red", "blue"], "plausible": ["red"]}}
    found = evaluate(questions, predictions, choices).metrics
    assert (found["validity"], found["plausibility"]) == (100, 50)
    with pytest.raises(DataError, match="Question 1: the choices have no 'valid' answers"):
        evaluate(questions, predictions, {})


def test_predictions_for_unknown_questions_are_ignored_and_missing_ones_named() -> None:
    assert score({"1": question("red")}, {"1": "red", "9": "x"}).metrics["accuracy"] == 100
    with pytest.raises(DataError, match="No prediction for 1 of 1 examples: 01"):
        score({"01": question("red")}, {"1": "red"})
    with pytest.raises(DataError, match="Question 1: the annotation has no answer"):
        score({"1": {"question": "?"}}, {"1": "red"})


@pytest.mark.parametrize("files", ["full_consistency", "balanced_only"])
def test_every_golden_score_is_the_official_one(golden: Golden, files: str) -> None:
    name = "golden_balanced" if files == "balanced_only" else "golden"
    questions = golden(f"metrics/gqa/{name}_questions.json")
    results = golden(f"metrics/gqa/{name}_predictions.json")
    choices = golden("metrics/gqa/golden_choices.json") if name == "golden" else None
    expected = golden(f"metrics/gqa/expected_official_{files}.json")
    predictions = {record["questionId"]: record["prediction"] for record in results}
    scored = evaluate(questions, predictions, choices)
    # The official script prints 0 for what it could not compute.
    for metric in set(scored.metrics) | {"accuracy", "binary", "open", "distribution"}:
        assert scored.metrics[metric] == pytest.approx(expected[metric], abs=1e-9), metric
    is_full = choices is not None
    assert all((m in scored.metrics) == is_full for m in ("consistency", "validity"))
    for kind, group in [
        ("structural", "accuracyPerStructuralType"),
        ("semantic", "accuracyPerSemanticType"),
        ("steps", "accuracyPerSteps"),
        ("words", "accuracyPerLength"),
    ]:
        found = {each: value._asdict() for each, value in scored.groups[kind].items()}
        assert set(found) == set(expected[group])
        for each, value in found.items():
            assert value == pytest.approx(expected[group][each], abs=1e-9)
