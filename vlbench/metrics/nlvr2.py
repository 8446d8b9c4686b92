"""NLVR2's official scores (Suhr et al., 2019, metrics.py): accuracy, and consistency per sentence.

A sentence is consistent if every one of its picture pairs is right. Sentences are told apart by
identifier (split-set-pair-sentence, without the pair) and not by text, which can occur twice.
"""

from __future__ import annotations

from collections import defaultdict

from vlbench.errors import DataError
from vlbench.metrics.accuracy import correct
from vlbench.metrics.scored import Annotations, Predictions, Scored, percent


def score(annotations: Annotations, predictions: Predictions) -> Scored:
    """Accuracy and consistency in percent; every annotation holds `identifier` and `label`."""
    scores = correct(annotations, predictions)
    sentences: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for each, value in scores.items():
        sentences[_sentence(str(annotations[each].get("identifier", each)))].append(value)
    metrics = {
        "accuracy": percent(scores.values()),
        "consistency": percent(min(values) for values in sentences.values()),
    }
    return Scored(metrics, scores)


def _sentence(identifier: str) -> tuple[str, ...]:
    parts = identifier.split("-")
    if len(parts) != 4:
        raise DataError(
            f"Example {identifier}: an identifier should be split-set-pair-sentence, "
            "for example dev-850-0-0."
        )
    return (*parts[:2], *parts[3:])
