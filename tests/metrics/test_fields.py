"""Every field of every file that `vlbench score` reads, left out or of another type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.spoilt import spoilt
from vlbench.errors import VlbenchError
from vlbench.metrics import captions
from vlbench.metrics.official import Files, score_files

ANSWERS = [{"answer": "dog", "answer_confidence": "yes", "answer_id": n} for n in range(10)]
ASKED = {
    **{"question": "Which?", "answer": "dog", "isBalanced": True, "entailed": ["6"]},
    **{"types": {"structural": "query", "detailed": "x"}, "groups": {"global": "g", "local": "l"}},
    "semantic": [{"operation": "select", "argument": "lamp (0)", "dependencies": []}],
}
CHOICES = {each: {"valid": ["dog"], "plausible": ["dog"]} for each in ("5", "6")}
LABELS = [{"identifier": f"dev-1-{n}-0", "label": "True", "sentence": "A dog."} for n in range(2)]
FILES: dict[str, tuple[Any, Any]] = {
    "vqav2": (
        {
            "annotations": [
                {"question_id": n, "image_id": n, "answers": ANSWERS, "answer_type": "other"}
                | {"question_type": "what"}
                for n in (5, 6)
            ]
        },
        [{"question_id": n, "answer": "dog"} for n in (5, 6)],
    ),
    "gqa": (
        {"5": ASKED, "6": ASKED},
        [{"questionId": n, "prediction": "dog"} for n in ("5", "6")],
    ),
    "nlvr2": (LABELS, "dev-1-0-0,True\ndev-1-1-0,True\n"),
    "coco": (
        {
            "images": [{"id": n} for n in (5, 6)],
            "annotations": [{"image_id": n, "id": n, "caption": "A dog."} for n in (5, 6)],
        },
        [{"image_id": n, "caption": "a dog"} for n in (5, 6)],
    ),
    "tvqa": ([{"qid": n, "answer_idx": 1} for n in (5, 6)], {"5": 1, "6": 1}),
    "tvc": (
        [{"clip_id": n, "descs": [{"desc": "a dog"}]} for n in (5, 6)],
        [{"clip_id": n, "descs": [{"desc": "a dog"}]} for n in (5, 6)],
    ),
}
LINES = ("nlvr2", "tvqa", "tvc")
"""Whose files are JSON Lines, if they are lists."""


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before the scores of captions needs none."""
    monkeypatch.setattr("vlbench.metrics.java.require_java", lambda: "java")
    scores = captions.CaptionScores({"cider": 0.0}, {"cider": {"5": 0.0}}, {})
    monkeypatch.setattr(captions, "evaluate", lambda references, candidates: scores)


def written(task: str, value: Any) -> object:
    if task in LINES and isinstance(value, list):
        return "".join(f"{json.dumps(each)}\n" for each in value)
    return value


@pytest.mark.parametrize("task", FILES)
def test_a_field_that_is_missing_or_of_another_type_is_told_by_name(
    write: Callable[[str, object], Path], task: str
) -> None:
    gold, results = FILES[task]
    files = {"gold": gold, "results": results, "choices": CHOICES if task == "gqa" else None}
    paths = {name: write(name, written(task, value)) for name, value in files.items() if value}
    refused = 0
    for name, path in paths.items():
        for field, is_gone, copy in spoilt(files[name]):
            write(name, written(task, copy))
            try:
                score_files(
                    task, Files(paths["results"], paths["gold"], choices=paths.get("choices"))
                )
            except VlbenchError as error:
                refused += 1
                if is_gone and not field.isdigit():  # a question that is gone is no missing field
                    assert path.name in str(error)
                    assert f"'{field}' is missing" in str(error), copy
            except Exception as error:
                raise AssertionError((name, field, copy)) from error
        write(name, written(task, files[name]))
    assert refused
