"""Plain accuracy of a label, as NLVR (Suhr et al., 2017) and NLVR2 count it: equal but for case."""

from __future__ import annotations

from vlbench.errors import DataError
from vlbench.metrics.scored import Annotations, Predictions, Scored, check_ids, percent


def score(annotations: Annotations, predictions: Predictions) -> Scored:
    """Accuracy in percent; every annotation holds a `label`."""
    scores = correct(annotations, predictions)
    return Scored({"accuracy": percent(scores.values())}, scores)


def correct(annotations: Annotations, predictions: Predictions) -> dict[str, float]:
    """1 or 0 per example; predictions for other examples are ignored, as officially."""
    scores = {}
    for each in check_ids(annotations, predictions, extra_allowed=True):
        label = annotations[each].get("label")
        if not isinstance(label, str):
            raise DataError(f"Example {each}: 'label' should be text, found {label!r}.")
        scores[each] = float(predictions[each].lower() == label.lower())
    return scores
