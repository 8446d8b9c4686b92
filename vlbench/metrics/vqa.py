"""VQA accuracy (Antol et al., 2015): how many of ten annotators gave the predicted answer.

One question scores the mean over its annotators of min(1, matches among the others / 3). Of the
two official versions, `official-2016` is what VL-T5, VL-Adapter and the papers of their time use:
the prediction is always normalised, the ten answers lose punctuation only, and only where they
differ. `official-2021` normalises both sides alike, but only where the answers differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlbench.errors import DataError, UsageError, nearest
from vlbench.metrics.scored import Annotations, Predictions, Scored, check_ids, grouped, percent
from vlbench.metrics.vqa_normalise import normalise, strip_lines, strip_punctuation

VERSIONS = ("official-2016", "official-2021")


def score(
    annotations: Annotations, predictions: Predictions, version: str = "official-2016"
) -> Scored:
    """Accuracy over all questions, with groups per answer type and question type."""
    if version not in VERSIONS:
        raise UsageError(f"Unknown version '{version}'. {nearest(version, VERSIONS)}")
    scores = {
        each: question_score(each, annotations[each], predictions[each], version)
        for each in check_ids(annotations, predictions)
    }
    groups = {
        kind: grouped(scores, {each: record.get(kind) for each, record in annotations.items()})
        for kind in ("answer_type", "question_type")
    }
    return Scored({"accuracy": percent(scores.values())}, scores, groups)


def score_2021(annotations: Annotations, predictions: Predictions) -> Scored:
    """Accuracy by the version of 2021."""
    return score(annotations, predictions, "official-2021")


def question_score(
    question: str, annotation: Mapping[str, Any], prediction: str, version: str
) -> float:
    """The score of one question, 0 to 1; the annotation stays as it is."""
    answers = annotation.get("answers")
    if not answers:
        raise DataError(f"Question {question}: the annotation has no answers.")
    prepare = _prepare_2016 if version == "official-2016" else _prepare_2021
    texts, predicted = prepare([record["answer"] for record in answers], prediction)
    records = [{**record, "answer": text} for record, text in zip(answers, texts, strict=True)]
    # "The other annotators" are those whose record differs, as in the official code: equal records
    # (same answer, confidence and answer_id) all drop out together.
    matches: list[int] = [
        sum(other["answer"] == predicted for other in records if other != record)
        for record in records
    ]
    return sum(min(1.0, count / 3) for count in matches) / len(matches)


def _prepare_2016(answers: list[str], prediction: str) -> tuple[list[str], str]:
    if len(set(answers)) > 1:
        answers = [strip_punctuation(answer) for answer in answers]
    return answers, normalise(strip_lines(prediction))


def _prepare_2021(answers: list[str], prediction: str) -> tuple[list[str], str]:
    answers, prediction = [strip_lines(answer) for answer in answers], strip_lines(prediction)
    if len(set(answers)) > 1:
        return [normalise(answer) for answer in answers], normalise(prediction)
    return answers, prediction
