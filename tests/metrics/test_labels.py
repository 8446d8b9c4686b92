from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlbench.errors import DataError
from vlbench.metrics.labels import accuracy
from vlbench.metrics.labels import nlvr2 as score

LABELS = {
    "dev-1-0-0": "True",
    "dev-1-1-0": "False",
    "dev-1-0-1": "True",
    "dev-11-0-0": "False",
}
ANNOTATIONS = {each: {"identifier": each, "label": label} for each, label in LABELS.items()}


def test_a_sentence_is_consistent_if_all_its_pairs_are_right() -> None:
    predictions = {"dev-1-0-0": "true", "dev-1-1-0": "TRUE", "dev-1-0-1": "True"}
    scored = score(ANNOTATIONS, {**predictions, "dev-11-0-0": "false", "other": "True"})
    assert scored.metrics == pytest.approx({"accuracy": 75, "consistency": 200 / 3})
    assert scored.per_example == {
        "dev-1-0-0": 1,
        "dev-1-1-0": 0,
        "dev-1-0-1": 1,
        "dev-11-0-0": 1,
    }


def test_a_missing_prediction_is_an_error_and_no_silent_success() -> None:
    with pytest.raises(DataError, match="for 2 of 4 examples: dev-1-1-0, dev-11-0-0"):
        score(ANNOTATIONS, {"dev-1-0-0": "True", "dev-1-0-1": "True"})


def test_a_faulty_record_is_named() -> None:
    with pytest.raises(DataError, match="Example 5: an identifier should be"):
        score({"5": {"identifier": "5", "label": "True"}}, {"5": "True"})
    with pytest.raises(DataError, match="Example 5: 'label' should be text, found 1"):
        score({"5": {"identifier": "a-b-c-d", "label": 1}}, {"5": "True"})


def test_plain_accuracy_needs_no_identifier() -> None:
    annotations = {"1572-0": {"label": "true"}, "9-3": {"label": "false"}}
    scored = accuracy(annotations, {"1572-0": "True", "9-3": "maybe"})
    assert scored.metrics == {"accuracy": 50}


def test_golden_predictions_score_as_officially(shared_folder: Path) -> None:
    folder = shared_folder / "golden" / "metrics" / "nlvr2"
    lines = (folder / "predictions.csv").read_text().split()
    predictions = dict(line.split(",") for line in lines)
    expected = json.loads((folder / "expected_official.json").read_text())

    def annotations(name: str) -> dict[str, dict[str, str]]:
        records = map(json.loads, (folder / name).read_text().splitlines())
        return {record["identifier"]: record for record in records}

    scored = score(annotations("dev.json"), predictions)
    official = {name: 100 * value for name, value in expected["official"].items()}
    assert scored.metrics == pytest.approx(official, abs=1e-9)
    assert len(scored.per_example) == expected["n"]
    balanced = score(annotations("balanced_dev.json"), predictions).metrics["accuracy"]
    assert balanced == pytest.approx(expected["filtered_accuracy_percent"], abs=1e-9)
