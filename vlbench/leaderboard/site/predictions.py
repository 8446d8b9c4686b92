"""Chosen rows of a run's predictions, with the references as people read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlbench.errors import DataError
from vlbench.leaderboard.examples import Scores
from vlbench.leaderboard.results import read_parquet
from vlbench.leaderboard.site.specs import cut

COLUMNS = ["id", "family", "images", "text", "prediction", "references", "score"]
MOST_REFERENCES = 5


class Prediction(NamedTuple):
    """What a run said to one example."""

    id: str
    family: str
    images: tuple[str, ...]
    text: str
    prediction: str
    references: tuple[tuple[str, int], ...]
    """Each with how many gave it."""
    score: float
    """In percent."""


class Predictions:
    """A run's predictions for a task, read once."""

    def __init__(self, file: Path) -> None:
        try:
            self._table = read_parquet(file, COLUMNS)
        except FileNotFoundError:
            raise DataError(f"{file}: No such file; the run's predictions are not here.") from None

    @property
    def scores(self) -> Scores:
        """What each example scored."""
        ids = np.asarray(self._table["id"].to_pylist(), dtype=np.str_)
        order = np.argsort(ids, kind="stable")
        return Scores(ids[order], self._table["score"].to_numpy()[order])

    def of(self, ids: Sequence[str]) -> dict[str, Prediction]:
        """The predictions for these examples, by id."""
        chosen = self._table.filter(pc.is_in(self._table["id"], pa.array(ids, pa.string())))
        return {row["id"]: _prediction(row) for row in chosen.to_pylist()}


def _prediction(row: dict[str, Any]) -> Prediction:
    return Prediction(
        id=row["id"],
        family=cut(row["family"] or "", 60),
        images=tuple(row["images"] or ()),
        text=cut(row["text"] or ""),
        prediction=cut(row["prediction"] or ""),
        references=tuple(read_references(row["references"] or "")),
        score=100 * row["score"],
    )


def read_references(text: str) -> list[tuple[str, int]]:
    """References and how many annotators gave each; JSON of any other shape stays as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return [(cut(text), 1)] if text else []
    answers = _answers(value)
    if answers is None:
        return [(cut(text), 1)]
    return [(cut(answer), n) for answer, n in Counter(answers).most_common(MOST_REFERENCES)]


def _answers(value: Any) -> list[str] | None:
    """The texts in a reference: it is one, a list of them, or of annotators' records."""
    listed = value if isinstance(value, list) else [value]
    texts = [each.get("answer") if isinstance(each, dict) else each for each in listed]
    answers = [text for text in texts if isinstance(text, str)]
    return answers if len(answers) == len(texts) else None
