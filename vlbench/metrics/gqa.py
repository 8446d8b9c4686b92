"""GQA's official scores (Hudson and Manning, 2019, eval.py): equal strings, balanced questions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vlbench.errors import DataError
from vlbench.metrics import Annotations, Predictions, Scored, check_ids, grouped, mean, percent

NEEDS = {  # metric -> why it is missing where it is
    "binary": "there is no such question",
    "open": "there is no such question",
    "consistency": "needs all questions (--questions) and predictions for all that are entailed",
    "validity": "needs --choices",
    "plausibility": "needs --choices",
    "distribution": "needs groups.global in the questions",
}
COMMON_CHOICES = ("color", "material", "shape")
NO_STEP = ("exist", "query: name", "choose name")


def score(annotations: Annotations, predictions: Predictions) -> Scored:
    """The scores that are percents: accuracy, binary, open, and consistency where it can be had."""
    scored = evaluate(annotations, predictions)
    percents = {name: value for name, value in scored.metrics.items() if name != "distribution"}
    return replace(scored, metrics=percents)


def scored_questions(questions: Annotations) -> dict[str, Mapping[str, Any]]:
    """The balanced questions: all others enter consistency only."""
    return {qid: record for qid, record in questions.items() if record.get("isBalanced", True)}


def evaluate(
    questions: Annotations,
    predictions: Predictions,
    choices: Annotations | None = None,
    others: Annotations | None = None,
) -> Scored:
    """All official scores but grounding; one that the files do not allow is left out, never zero.

    `distribution` is no percent: chi square / 100, lower is better. `choices` are the `valid` and
    `plausible` answers, `others` questions that are not in `questions` and may be entailed by them.
    """
    balanced = scored_questions(questions)
    check_ids(balanced, predictions, extra_allowed=True)
    scores = {qid: _is_correct(qid, questions, predictions) for qid in balanced}
    consistency, note = _consistency({**(others or {}), **questions}, predictions, scores)
    types = {qid: _type(question, "structural") for qid, question in balanced.items()}
    binary = [scores[qid] for qid, kind in types.items() if kind not in (None, "query")]
    opened = [scores[qid] for qid, kind in types.items() if kind == "query"]
    metrics = {
        "accuracy": percent(scores.values()),
        "binary": percent(binary) if binary else None,
        "open": percent(opened) if opened else None,
        "consistency": consistency,
        "validity": _among(balanced, predictions, choices, "valid"),
        "plausibility": _among(balanced, predictions, choices, "plausible"),
        "distribution": _distribution(balanced, predictions),
    }
    known = {name: value for name, value in metrics.items() if value is not None}
    groups = {
        name: grouped(scores, {qid: group_of(question) for qid, question in balanced.items()})
        for name, group_of in GROUPS.items()
    }
    undefined = {name: why for name, why in NEEDS.items() if name not in known}
    return Scored(known, scores, groups, undefined | ({"consistency": note} if note else {}))


def _is_correct(qid: str, questions: Annotations, predictions: Predictions) -> float:
    if "answer" not in questions[qid]:
        raise DataError(f"Question {qid}: the annotation has no answer.")
    return float(predictions[qid] == questions[qid]["answer"])


def _type(question: Mapping[str, Any], kind: str) -> str | None:
    value = (question.get("types") or {}).get(kind)
    return None if value is None else str(value)


def _consistency(
    questions: Annotations, predictions: Predictions, scores: Mapping[str, float]
) -> tuple[float | None, str]:
    """Mean accuracy on what a right answer entails, and why that says nothing of these answers.

    None unless all of that was answered. Entailed questions may be unbalanced.
    """
    entailed = {
        qid: [other for other in questions[qid].get("entailed") or () if other != qid]
        for qid in scores
    }
    if not any(entailed.values()):
        return None, "no question entails another; officially 0.00"
    right = [others for qid, others in entailed.items() if scores[qid] and others]
    if not right:
        return 0.0, "no answer that entails others is right; officially 0.00"
    if not {other for others in right for other in others} <= questions.keys() & predictions.keys():
        return None, ""
    means = [mean(_is_correct(qid, questions, predictions) for qid in others) for others in right]
    return percent(means), ""


def _among(
    balanced: Annotations, predictions: Predictions, choices: Annotations | None, kind: str
) -> float | None:
    if choices is None:
        return None
    hits = []
    for qid, question in balanced.items():
        is_common = "Common" in (_type(question, "detailed") or "")
        allowed = COMMON_CHOICES if is_common else choices.get(qid, {}).get(kind)
        if allowed is None:
            raise DataError(f"Question {qid}: the choices have no '{kind}' answers for it.")
        hits.append(float(predictions[qid] in allowed))
    return percent(hits)


def _distribution(balanced: Annotations, predictions: Predictions) -> float | None:
    """Chi square of the answers per group, weighted by the group's size; None without groups."""
    gold: dict[str, Counter[str]] = defaultdict(Counter)
    predicted: dict[str, Counter[str]] = defaultdict(Counter)
    for qid, question in balanced.items():
        group = (question.get("groups") or {}).get("global")
        if group is not None:
            gold[group][question["answer"]] += 1
            predicted[group][predictions[qid]] += 1
    weighted = 0.0
    for group, counts in gold.items():
        chi_square = sum((predicted[group][text] - n) ** 2 / n for text, n in counts.items())
        weighted += chi_square * counts.total()
    return weighted / sum(counts.total() for counts in gold.values()) / 100 if gold else None


def _steps(question: Mapping[str, Any]) -> int | None:
    if question.get("semantic") is None:
        return None
    operations = [f"{step['operation']}: {step['argument']}" for step in question["semantic"]]
    return sum(not any(text in operation for text in NO_STEP) for operation in operations)


GROUPS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "structural": lambda question: _type(question, "structural"),
    "semantic": lambda question: _type(question, "semantic"),
    "steps": _steps,
    "words": lambda question: len(question.get("question", "").split()) or None,
}
