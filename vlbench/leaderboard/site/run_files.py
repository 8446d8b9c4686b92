"""What a run's folder holds for the pages: its spec, and its predictions on chosen examples.

Results can come from anybody, so nothing here trusts the shape of a file.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlbench.errors import DataError
from vlbench.files import read_object
from vlbench.leaderboard.examples import Scores, read_scores
from vlbench.leaderboard.results import read_parquet

LONGEST = 400
"""Letters of a value that are shown."""
COLUMNS = ["id", "family", "images", "text", "prediction", "references", "score"]
MOST_REFERENCES = 5
N_SAMPLES, N_WORST = 3, 3
"""Predictions of a run on a page, for each task."""
Spec = Mapping[str, Any]


class Prediction(NamedTuple):
    """A run's answer to one example."""

    id: str
    family: str
    images: tuple[str, ...]
    text: str
    prediction: str
    references: tuple[tuple[str, int], ...]
    """Each with the number of annotators who gave it."""
    score: float
    """In percent."""


class Difficulty(NamedTuple):
    """The examples of a task with their mean score over runs, one run a method."""

    ids: npt.NDArray[np.str_]
    """(n,), sorted."""
    means: npt.NDArray[np.float64]
    """(n,), as stored in `score`."""
    keys: list[str]
    """Runs that were read."""

    def hardest(self, count: int) -> list[str]:
        """Return the ids with the lowest means, lowest first."""
        return [str(self.ids[n]) for n in np.argsort(self.means, kind="stable")[:count]]

    def mean(self, identifier: str) -> float | None:
        """Return the mean of an example in percent; None where no run has it."""
        n = np.searchsorted(self.ids, identifier)
        is_known = n < len(self.ids) and self.ids[n] == identifier
        return 100 * float(self.means[n]) if is_known else None


def is_plain(text: str) -> bool:
    """Return whether a text can name a file or folder without leading elsewhere."""
    return 0 < len(text) < 200 and text.isprintable() and text[0] != "." and not {*text} & {*"/\\"}


def predictions_file(results: Path, key: str, task: str) -> Path:
    """Return the path of a run's predictions for a task."""
    return results / "runs" / key / "predictions" / f"{task}.parquet"


def read_predictions(file: Path, ids: Sequence[str]) -> dict[str, Prediction]:
    """Read the predictions for some examples, by id."""
    try:
        table = read_parquet(file, COLUMNS)
    except FileNotFoundError:
        raise DataError(f"{file}: No such file; the run's predictions are not here.") from None
    rows = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))).to_pylist()
    return {
        row["id"]: Prediction(
            id=row["id"],
            family=cut(row["family"] or "", 60),
            images=tuple(row["images"] or ()),
            text=cut(row["text"] or ""),
            prediction=cut(row["prediction"] or ""),
            references=tuple(read_references(row["references"] or "")),
            score=100 * row["score"],
        )
        for row in rows
    }


def read_references(text: str) -> list[tuple[str, int]]:
    """Return references with their counts: a text, a list of them, or of annotators' records.

    JSON of any other shape stays as it is.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return [(cut(text), 1)] if text else []
    records = value if isinstance(value, list) else [value]
    texts = [record.get("answer") if isinstance(record, dict) else record for record in records]
    answers = [answer for answer in texts if isinstance(answer, str)]
    if len(answers) < len(texts):
        return [(cut(text), 1)]
    return [(cut(answer), n) for answer, n in Counter(answers).most_common(MOST_REFERENCES)]


def difficulty(results: Path, keys: Sequence[str], task: str) -> Difficulty | None:
    """Return the mean score of each example over runs; None where no predictions can be read.

    A run on other examples than the first one's, which a board never mixes, is left out, and so is
    one whose predictions cannot be read (the report tells of it).
    """
    scores: dict[str, Scores] = {}
    for key in keys:
        try:
            scores[key] = read_scores(predictions_file(results, key, task))
        except DataError:
            continue
    first = next(iter(scores.values()), None)
    if first is None or not len(first.ids):
        return None
    same = {key: run for key, run in scores.items() if np.array_equal(first.ids, run.ids)}
    return Difficulty(first.ids, np.mean([run.values for run in same.values()], axis=0), [*same])


def choose(file: Path, known: Difficulty | None) -> tuple[list[Prediction], list[Prediction]]:
    """Return samples, the same examples for every run on the same data, and worst errors."""
    scores = read_scores(file)
    samples = spread(scores, N_SAMPLES)
    errors = worst_errors(scores, known, N_WORST + N_SAMPLES)
    worst = [identifier for identifier in errors if identifier not in samples][:N_WORST]
    predictions = read_predictions(file, [*samples, *worst])
    return [predictions[name] for name in samples], [predictions[name] for name in worst]


def spread(scores: Scores, count: int) -> list[str]:
    """Return ids evenly spread over all."""
    n = len(scores.ids)
    chosen = sorted({int((2 * step + 1) * n / (2 * count)) for step in range(count)}) if n else []
    return [str(scores.ids[row]) for row in chosen]


def worst_errors(scores: Scores, known: Difficulty | None, count: int) -> list[str]:
    """Return the lowest scores; among equals, those that other methods find easiest.

    Full marks are no error.
    """
    easy = np.zeros(len(scores.ids))
    if known is not None and np.array_equal(known.ids, scores.ids):
        easy = known.means
    order = np.lexsort((-easy, scores.values))
    return [str(scores.ids[n]) for n in order[:count] if scores.values[n] < max(1.0, easy[n])]


def read_spec(results: Path, key: str) -> dict[str, Any]:
    """Read the spec of a run; empty where the run has none, as results from elsewhere may."""
    path = results / "runs" / key / "spec.json"
    return read_object(path, "not a run's spec") if os.path.lexists(path) else {}


def task_card(spec: Spec, task: str) -> dict[str, Any]:
    """Return the card of a task as the run used it; empty where the spec does not hold it."""
    cards = spec.get("tasks")
    for card in cards if isinstance(cards, list) else []:
        if isinstance(card, dict) and card.get("name") == task:
            return card
    return {}


def leaves(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return the leaves of a table by their dotted names, as text."""
    if isinstance(value, Mapping) and value:
        return [
            leaf
            for name, inner in value.items()
            for leaf in leaves(inner, f"{prefix}.{name}" if prefix else str(name))
        ]
    return [(prefix, as_text(value))] if prefix else []


def as_lines(value: Any) -> list[str]:
    """Return a list of texts, whatever the value is."""
    if isinstance(value, list | tuple):
        return [as_text(item) for item in value]
    return [as_text(value)] if value else []


def as_text(value: Any) -> str:
    """Return a value as people write it, cut where it is very long."""
    if value is None or value == {} or value == []:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return cut(", ".join(map(as_text, value)))
    return cut(str(value))


def cut(text: str, longest: int = LONGEST) -> str:
    """Return the text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def command(spec: Spec) -> str:
    """Return the command that repeats the run; empty where the spec does not tell."""
    method = spec.get("method")
    if not isinstance(method, dict) or "suite" not in spec:
        return ""
    options = {
        "method": spec.get("method_file") or method.get("name"),
        "tasks": spec["suite"],
        "backbone": spec.get("backbone"),
        "edition": spec.get("edition"),
        "seeds": spec.get("seed"),
        "limit": spec.get("limit"),
        "encoder": spec.get("encoder"),
        "init": spec.get("init"),
        "root": "DIR" if spec.get("root") else "",
    }
    words = ["vlbench", "run"]
    for option, value in options.items():
        words += [f"--{option}", str(value)] if value not in (None, "") else []
    for setting in as_lines(spec.get("settings")):
        words += ["--set", setting]
    return shlex.join(words)


def differing(specs: Sequence[Spec]) -> list[str]:
    """Return the top-level names in which specs differ."""
    names = {name: None for spec in specs for name in spec}
    return [name for name in names if any(spec.get(name) != specs[0].get(name) for spec in specs)]
