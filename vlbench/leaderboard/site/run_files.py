"""What a run's folder holds for the pages: its spec, and its predictions on chosen examples.

Results can come from anybody, so nothing here trusts the shape of a file.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vlbench.errors import DataError
from vlbench.files import read_object
from vlbench.leaderboard.examples import Examples, Scores
from vlbench.leaderboard.results import read_parquet

LONGEST = 400
"""Letters of a value that are shown."""
MOST_REFERENCES = 5
N_SAMPLES, N_WORST = 3, 3
"""Predictions of a run on a page, for each task."""
COMMAND = {"tasks": "suite", "seeds": "seed"}
COMMAND |= {name: name for name in ("backbone", "edition", "limit", "encoder", "init")}
"""Options of the command that repeats a run -> names in its spec."""
Spec = Mapping[str, Any]


class Prediction(NamedTuple):
    """A run's answer to one example; references with the annotators who gave each, score in %."""

    id: str
    family: str
    images: tuple[str, ...]
    text: str
    prediction: str
    references: Sequence[tuple[str, int]]
    score: float


def difficulty(
    examples: Examples, keys: Sequence[str], task: str
) -> tuple[pd.Series[float], list[str]]:
    """Return the mean score of each example over runs, by id, and the runs that were read.

    A run on other examples than the first one's, which a board never mixes, is left out, and so is
    one whose predictions cannot be read (the report says so).
    """
    scores: dict[str, Scores] = {}
    for key in keys:
        try:
            run = examples.scores(key, task)
        except DataError:
            continue
        if np.array_equal(next(iter(scores.values()), run).ids, run.ids) and len(run.ids):
            scores[key] = run
    if not scores:
        return pd.Series(dtype=float), []
    means = np.mean([run.values for run in scores.values()], axis=0)
    by_id = pd.Series(means, next(iter(scores.values())).ids)
    return by_id[~by_id.index.duplicated()], [*scores]


def choose(scores: Scores, means: pd.Series[float]) -> tuple[list[str], list[str]]:
    """Return ids of samples, the same for every run on the same data, and of worst errors.

    Errors are the lowest scores; among equals, those that other methods find easiest. Full marks
    are no error, unless others do better (captions).
    """
    n = len(scores.ids)
    rows = {(2 * step + 1) * n // (2 * N_SAMPLES) for step in range(N_SAMPLES)} if n else ()
    samples = [str(scores.ids[row]) for row in sorted(rows)]
    easy = means.reindex(scores.ids).fillna(0.0).to_numpy()
    order = np.lexsort((-easy, scores.values))
    errors = (str(scores.ids[row]) for row in order if scores.values[row] < max(1.0, easy[row]))
    return samples, [*islice((error for error in errors if error not in samples), N_WORST)]


def read_predictions(
    file: Path, ids: Sequence[str], columns: Sequence[str] = Prediction._fields
) -> dict[str, dict[str, Any]]:
    """Read the rows of some examples, by id, from a run's file of predictions."""
    try:
        table = read_parquet(file, ["id", *(name for name in columns if name != "id")])
    except FileNotFoundError:
        raise DataError(f"{file}: No such file; the run's predictions are not here.") from None
    rows = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))).to_pylist()
    return {row["id"]: row for row in rows}


def as_prediction(row: Mapping[str, Any]) -> Prediction:
    """Make a row of a file of predictions fit for a page."""
    return Prediction(
        id=row["id"],
        family=cut(row["family"] or "", 60),
        images=tuple(row["images"] or ()),
        text=cut(row["text"] or ""),
        prediction=cut(row["prediction"] or ""),
        references=read_references(row["references"] or ""),
        score=100 * row["score"],
    )


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


def is_plain(text: str) -> bool:
    """Return whether a text can name a file or folder without leading elsewhere."""
    return 0 < len(text) < 200 and text.isprintable() and text[0] != "." and not {*text} & {*"/\\"}


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
    """Return the leaves of a table by their dotted names, as text; empty ones are left out."""
    if isinstance(value, Mapping) and value:
        return [
            leaf
            for name, inner in value.items()
            for leaf in leaves(inner, f"{prefix}.{name}" if prefix else str(name))
        ]
    return [(prefix, as_text(value))] if prefix and value not in (None, "", [], {}) else []


def as_table(value: Any) -> dict[str, Any]:
    """Return a table of a card; empty where the value is none."""
    return value if isinstance(value, dict) else {}


def as_lines(value: Any) -> list[str]:
    """Return a list of texts, whatever the value is."""
    return [as_text(item) for item in (value if isinstance(value, list) else [value]) if item]


def as_text(value: Any) -> str:
    """Return a value as people write it, cut where it is very long."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        value = ", ".join(map(as_text, value))
    return cut(str(value))


def cut(text: str, longest: int = LONGEST) -> str:
    """Return the text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def command(spec: Spec) -> str:
    """Return the command that repeats the run; empty where the spec does not tell."""
    method = as_table(spec.get("method"))
    if not method or "suite" not in spec:
        return ""
    options = {"method": spec.get("method_file") or method.get("name")}
    options |= {option: spec.get(name) for option, name in COMMAND.items()}
    options["root"] = "DIR" if spec.get("root") else ""
    given = [
        (f"--{name}", str(value)) for name, value in options.items() if value not in (None, "")
    ]
    given += [("--set", setting) for setting in as_lines(spec.get("settings"))]
    return shlex.join(["vlbench", "run", *(word for pair in given for word in pair)])
