"""Captions as VALUE scores them (TVC, YC2C): COCO's scorers on text without non-ASCII."""

from __future__ import annotations

import re
from typing import Any

from vlbench.metrics import captions
from vlbench.metrics.scored import Annotations, Predictions, Scored


def score(annotations: Annotations, predictions: Predictions, meteor: bool = True) -> Scored:
    """As `captions.score`; every character that is not ASCII counts as a space on both sides."""
    return captions.score(
        ascii_captions(annotations),
        {each: to_ascii(text) for each, text in predictions.items()},
        meteor,
    )


def score_without_meteor(annotations: Annotations, predictions: Predictions) -> Scored:
    """What `score` gives, without METEOR."""
    return score(annotations, predictions, meteor=False)


def to_ascii(text: str) -> str:
    """One space for each character outside ASCII."""
    return re.sub(r"[^\x00-\x7f]", " ", text)


def ascii_captions(annotations: Annotations) -> dict[str, dict[str, Any]]:
    """The annotations, their `captions` in ASCII."""
    return {
        each: {**record, "captions": [to_ascii(text) for text in record.get("captions", ())]}
        for each, record in annotations.items()
    }
