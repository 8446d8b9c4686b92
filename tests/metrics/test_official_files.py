from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlbench.errors import DataError, MissingError, UsageError
from vlbench.metrics.official_files import score_files

Write = Callable[[str, object], Path]

ANSWERS = [{"answer": "dog", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
VQA = {"annotations": [{"question_id": 5, "answers": ANSWERS, "answer_type": "other"}]}
GQA = {"05": {"question": "Which one?", "answer": "dog", "types": {"structural": "query"}}}
NLVR2 = '{"identifier": "dev-1-0-0", "label": "True"}\n{"identifier": "dev-1-1-0", "label": "True"}'
COCO = {"images": [{"id": 5}], "annotations": [{"image_id": 5, "caption": "A dog."}]}
RIGHT: dict[str, tuple[object, object]] = {
    "vqav2": (VQA, [{"question_id": 5, "answer": "dog"}]),
    "gqa": (GQA, [{"questionId": "05", "prediction": "dog"}]),
    "nlvr2": (NLVR2, "dev-1-0-0,true\ndev-1-1-0,True\n"),
    "nlvr": (NLVR2, "dev-1-0-0,true\ndev-1-1-0,True\n"),
}


@pytest.mark.parametrize("task", RIGHT)
def test_official_files_of_every_task_are_scored(write: Write, task: str) -> None:
    annotations, predictions = RIGHT[task]
    found = score_files(task, write("results", predictions), write("gold", annotations))
    assert found.task == task
    assert found.metrics["accuracy"] == 100


@pytest.mark.parametrize(
    ("task", "predictions", "message"),
    [
        ("vqav2", "[{", "results: not JSON: .*line 1"),
        ("vqav2", {}, "results: the file should be a list, found {}"),
        ("vqav2", [3], "results: record 1 should be an object, found 3"),
        ("vqav2", [{"answer": "dog"}], "results: record 1: 'question_id' is missing"),
        ("vqav2", [{"question_id": "5", "answer": "dog"}], "'question_id' should be a whole numb"),
        ("vqav2", [{"question_id": True, "answer": "dog"}], "'question_id' should be a whole numb"),
        ("vqav2", [{"question_id": 5, "answer": 2}], "'answer' should be text, found 2"),
        ("vqav2", [], "results: No prediction for 1 of 1 examples; the first is '5'"),
        (
            "vqav2",
            [{"question_id": 5, "answer": "a"}, {"question_id": 6, "answer": "b"}],
            "results: 1 predictions have no annotation; the first is for '6'",
        ),
        ("gqa", [{"questionId": 5, "prediction": "dog"}], "'questionId' should be text, found 5"),
        ("gqa", [{"questionId": "5", "prediction": "dog"}], "No prediction .* '05'"),
        ("nlvr2", "dev-1-0-0,True", "results: No prediction for 1 of 2 examples; .* 'dev-1-1-0'"),
        ("nlvr2", "dev-1-0-0,True\ndev-1-1-0", "results: line 2: should be identifier,prediction"),
    ],
)
def test_faulty_predictions_are_told_with_file_and_record(
    write: Write, task: str, predictions: object, message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        score_files(task, write("results", predictions), write("gold", RIGHT[task][0]))
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("task", "annotations", "message"),
    [
        ("vqav2", [], "gold: the file should be an object, found"),
        ("vqav2", {"questions": []}, "gold: 'annotations' is missing"),
        ("vqav2", {"annotations": []}, "nothing to score"),
        (
            "vqav2",
            {"annotations": [{"question_id": 5, "answers": []}]},
            r"gold: record 1 \(question 5\): there are no answers",
        ),
        (
            "vqav2",
            {"annotations": [{"question_id": 5, "answers": [{"answer": None}]}]},
            r"gold: record 1 \(question 5\): answers: record 1: 'answer' should be text",
        ),
        ("gqa", {"05": {"question": "Which?"}}, "gold: question 05: 'answer' is missing"),
        ("nlvr2", '{"label": "True"}', "gold: line 1: 'identifier' is missing"),
        ("nlvr2", '\n{"label":', "gold: line 2: not JSON"),
    ],
)
def test_faulty_annotations_are_told_with_file_and_record(
    write: Write, task: str, annotations: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        score_files(task, write("results", RIGHT[task][1]), write("gold", annotations))


@pytest.mark.parametrize(
    ("annotations", "predictions", "message"),
    [
        ({**COCO, "images": [{"id": 5}, {"id": 6}]}, [], "gold: image 6 has no captions"),
        (COCO, [{"image_id": 5, "caption": "a"}] * 2, "results: record 2: a second result"),
        (COCO, [{"image_id": 5, "caption": None}], "record 1: 'caption' should be text"),
        (COCO, [{"image_id": 7, "caption": "a"}], "No prediction .* '5'"),
    ],
)
def test_faulty_caption_files_are_told_with_file_and_record(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    annotations: object,
    predictions: object,
    message: str,
) -> None:
    monkeypatch.setattr("vlbench.metrics.java.require_java", lambda: "java")
    with pytest.raises(DataError, match=message):
        score_files("coco", write("results", predictions), write("gold", annotations))


def test_missing_and_unreadable_files_are_named(write: Write, tmp_path: Path) -> None:
    gold = write("gold", VQA)
    with pytest.raises(MissingError, match="absent: No such file"):
        score_files("vqav2", tmp_path / "absent", gold)
    with pytest.raises(MissingError, match="directory"):
        score_files("vqav2", tmp_path, gold)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="binary: not UTF-8"):
        score_files("vqav2", tmp_path / "binary", gold)


def test_unknown_words_are_usage_errors(write: Write) -> None:
    gold, results = write("gold", VQA), write("results", RIGHT["vqav2"][1])
    with pytest.raises(UsageError, match=r"Unknown task 'vqa'\. Did you mean 'vqav2'"):
        score_files("vqa", results, gold)
    with pytest.raises(UsageError, match="Did you mean 'official_2021'"):
        score_files("vqav2", results, gold, version="oficial_2021")
    with pytest.raises(UsageError, match="--version is for vqav2"):
        score_files("gqa", results, gold, version="official_2021")
    with pytest.raises(UsageError, match="--choices is for gqa"):
        score_files("vqav2", results, gold, choices=gold)


def test_gqa_says_why_a_metric_is_not_there(write: Write) -> None:
    found = score_files("gqa", write("results", RIGHT["gqa"][1]), write("gold", GQA))
    assert found.metrics["validity"] is None
    assert found.notes["validity"] == "needs --choices"
    assert set(found.notes) == {name for name, value in found.metrics.items() if value is None}


GOLDEN: list[tuple[str, str, str, dict[str, str], dict[str, float]]] = [
    (
        "vqav2",
        "vqa/v2_OpenEnded_mscoco_golden_results.json",
        "vqa/v2_mscoco_golden_annotations.json",
        {},
        {"accuracy": 86.62921348314607},
    ),
    (
        "vqav2",
        "vqa/v2_OpenEnded_mscoco_golden_results.json",
        "vqa/v2_mscoco_golden_annotations.json",
        {"version": "official_2021"},
        {"accuracy": 92.19101123595506},
    ),
    (
        "gqa",
        "gqa/golden_predictions.json",
        "gqa/golden_questions.json",
        {"choices": "gqa/golden_choices.json"},
        {
            "accuracy": 55.55555555555556,
            "binary": 56.81818181818182,
            "open": 52.63157894736842,
            "validity": 84.12698412698413,
            "plausibility": 77.77777777777779,
            "consistency": 29.629629629629626,
            "distribution": 0.01015625,
        },
    ),
    (
        "nlvr2",
        "nlvr2/predictions.csv",
        "nlvr2/dev.json",
        {},
        {"accuracy": 69.56521739130435, "consistency": 33.33333333333333},
    ),
]


@pytest.mark.parametrize(("task", "predictions", "annotations", "more", "expected"), GOLDEN)
def test_golden_files_score_as_officially(
    shared_folder: Path,
    task: str,
    predictions: str,
    annotations: str,
    more: dict[str, str],
    expected: dict[str, float],
) -> None:
    folder = shared_folder / "golden" / "metrics"
    options: dict[str, Any] = dict(more)
    if "choices" in options:
        options["choices"] = folder / options["choices"]
    found = score_files(task, folder / predictions, folder / annotations, **options)
    assert found.metrics == pytest.approx(expected, abs=1e-9)


def test_the_golden_file_with_a_missing_prediction_is_refused(shared_folder: Path) -> None:
    folder = shared_folder / "golden" / "metrics" / "nlvr2"
    with pytest.raises(DataError, match="the first is 'dev-128-2-1'"):
        score_files("nlvr2", folder / "predictions_missing_one.csv", folder / "dev.json")


def test_the_json_object_has_schema_metrics_and_groups(write: Write) -> None:
    found = score_files("vqav2", write("results", RIGHT["vqav2"][1]), write("gold", VQA))
    assert json.loads(json.dumps(found.as_json())) == {
        "schema": "vlbench.score/1",
        "task": "vqav2",
        "metrics": {"accuracy": 100.0},
        "notes": {},
        "n_examples": 1,
        "groups": {"answer_type": {"other": {"accuracy": 100.0, "n": 1}}, "question_type": {}},
        "settings": {"version": "official_2016"},
    }
