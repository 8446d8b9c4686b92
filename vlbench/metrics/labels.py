"""Accuracy of labels, equal but for case (NLVR, Suhr et al., 2017), and NLVR2's official scores.

NLVR2 (Suhr et al., 2019, metrics.py) adds consistency: a sentence is consistent if every one of its
picture pairs is right. Sentences are told apart by identifier (split-set-pair-sentence, without the
pair) and not by text, which can occur twice.
"""

from __future__ import annotations

from collections import defaultdict

from vlbench.errors import DataError
from vlbench.metrics import Annotations, Predictions, Scored, check_ids, percent


def accuracy(annotations: Annotations, predictions: Predictions) -> Scored:
    """Accuracy in percent; every annotation holds a `label`."""
    scores = _correct(annotations, predictions)
    return Scored({"accuracy": percent(scores.values())}, scores)


def nlvr2(annotations: Annotations, predictions: Predictions) -> Scored:
    """Accuracy and consistency in percent; every annotation holds `identifier` and `label`."""
    scores = _correct(annotations, predictions)
    sentences: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for example, value in scores.items():
        sentences[_sentence(str(annotations[example].get("identifier", example)))].append(value)
    metrics = {
        "accuracy": percent(scores.values()),
        "consistency": percent(min(values) for values in sentences.values()),
    }
    return Scored(metrics, scores)


def _correct(annotations: Annotations, predictions: Predictions) -> dict[str, float]:
    """1 or 0 per example; predictions for other examples are ignored, as officially."""
    scores = {}
    for example in check_ids(annotations, predictions, extra_allowed=True):
        label = annotations[example].get("label")
        if not isinstance(label, str):
            raise DataError(f"Example {example}: 'label' should be text, found {label!r}.")
        scores[example] = float(predictions[example].lower() == label.lower())
    return scores


def _sentence(identifier: str) -> tuple[str, ...]:
    parts = identifier.split("-")
    if len(parts) != 4:
        raise DataError(
            f"Example {identifier}: an identifier should be split-set-pair-sentence, "
            "for example dev-850-0-0."
        )
    return (*parts[:2], *parts[3:])
