"""Accuracy of labels (exact match, equal but for case; NLVR, Suhr et al., 2017); NLVR2's scores.

NLVR2 (Suhr et al., 2019, metrics.py) adds consistency: a sentence is consistent if every one of its
picture pairs is right. Sentences differ by identifier (split-set-pair-sentence, without the
pair) and not by text, which can occur twice.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from vlbench.errors import DataError
from vlbench.metrics import Annotations, Predictions, Scored, check_ids, percent


def accuracy(annotations: Annotations, predictions: Predictions) -> Scored:
    """Accuracy in percent; predictions of other examples are ignored.

    Every annotation holds a `label`, or `answers`, any of which is right.
    """
    scores = {}
    for example in check_ids(annotations, predictions, extra_allowed=True):
        record = annotations[example]
        label = record.get("label", record.get("answers"))
        labels = label if isinstance(label, list) and label else [label]
        if not all(isinstance(text, str) for text in labels):
            raise DataError(f"Example {example}: 'label' should be text, found {label!r}.")
        scores[example] = float(predictions[example].lower() in [text.lower() for text in labels])
    return Scored({"accuracy": percent(scores.values())}, scores)


def nlvr2(annotations: Annotations, predictions: Predictions) -> Scored:
    """Accuracy and consistency in percent; every annotation holds `identifier` and `label`."""
    scored = accuracy(annotations, predictions)
    sentences: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for example, value in scored.per_example.items():
        parts = str(annotations[example].get("identifier", example)).split("-")
        if len(parts) != 4:
            raise DataError(f"Example {example}: should be split-set-pair-sentence.")
        sentences[(*parts[:2], parts[3])].append(value)
    consistency = percent(min(values) for values in sentences.values())
    return replace(scored, metrics={**scored.metrics, "consistency": consistency})
