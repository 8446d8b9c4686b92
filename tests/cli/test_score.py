"""`vlbench score`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.command import assert_refused, vlbench

ANSWERS = [{"answer": "dog", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
VQA = {"annotations": [{"question_id": n, "image_id": n, "answers": ANSWERS} for n in (5, 6)]}
GQA = {"5": {"question": "Which one?", "answer": "dog", "imageId": "1"}}
VQA_RESULTS = [{"question_id": 5, "answer": "dog"}, {"question_id": 6, "answer": "cat"}]
GQA_RESULTS = [{"questionId": "5", "prediction": "dog"}]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with right files of two tasks."""
    monkeypatch.chdir(tmp_path)
    write("vqav2.json", VQA)
    write("vqav2-results.json", VQA_RESULTS)
    write("gqa.json", GQA)
    write("gqa-results.json", GQA_RESULTS)
    return tmp_path


def write(name: str, content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    Path(name).write_text(text, encoding="utf-8")
    return name


def score(task: str, *words: str, predictions: str = "", annotations: str = "") -> Result:
    files = (predictions or f"{task}-results.json", annotations or f"{task}.json")
    return vlbench("score", task, "--predictions", files[0], "--annotations", files[1], *words)


def test_the_table_has_a_line_per_metric_and_says_what_is_missing() -> None:
    result = score("gqa")
    assert (result.exit_code, result.stderr) == (0, "1 examples\n")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[:2] == [["metric", "gqa"], ["accuracy", "100.00"]]
    assert ["validity", "-", "(needs", "--choices)"] in lines
    heading = score("vqav2", "--variant", "official-2021").stdout.splitlines()[0]
    assert heading.split() == ["metric", "vqav2", "official-2021"]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (VQA_RESULTS[:1], "results: 1 examples without a prediction: 6."),
        ([], "no prediction holds any text. 2 examples without a prediction: 5, 6."),
        ("[", "results: not valid JSON: "),
    ],
)
def test_faulty_predictions_exit_2_with_one_message_and_no_score(
    results: object, message: str
) -> None:
    result = score("vqav2", "--json", predictions=write("results", results))
    assert_refused(result, 2, message)
    assert result.stderr.startswith("vlbench: results: ") and result.stderr.count("\n") == 1


def test_missing_files_and_faulty_annotations_exit_3() -> None:
    absent = score("vqav2", predictions="absent")
    assert_refused(absent, 3, "vlbench: absent: No such file or directory.\n")
    faulty = score("vqav2", annotations=write("gold", {"annotations": []}))
    assert_refused(faulty, 3, "gold: there is nothing to score")
