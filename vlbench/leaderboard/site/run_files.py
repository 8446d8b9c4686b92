"""What a run's folder holds for the pages: its spec, and its predictions on chosen examples."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from vlbench.errors import DataError
from vlbench.leaderboard.examples import Scores
from vlbench.leaderboard.results import read_parquet
from vlbench.runs.packed import stored_run
from vlbench.runs.spec import RunSpec

LONGEST = 400  # letters of a value that are shown
MOST_REFERENCES = 5
N_SAMPLES = 4  # predictions of a run on a page, for each task


class Prediction(NamedTuple):
    """A run's answer to one example; references with the annotators who gave each, score in %."""

    id: str
    family: str
    images: tuple[str, ...]
    text: str
    prediction: str
    references: Sequence[tuple[str, int]]
    score: float


def choose(scores: Scores) -> list[str]:
    """Return the ids of samples, evenly spread: the same for every run on the same data."""
    n = len(scores.ids)
    rows = {(2 * step + 1) * n // (2 * N_SAMPLES) for step in range(N_SAMPLES)} if n else ()
    return [str(scores.ids[row]) for row in sorted(rows)]


def read_predictions(file: Traversable, ids: Sequence[str]) -> list[Prediction]:
    """Read the answers to some examples, in the order of their ids, fit for a page."""
    try:
        table = read_parquet(file, Prediction._fields)
    except FileNotFoundError:
        raise DataError(f"{file}: No such file; the run's predictions are not here.") from None
    table = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))).sort_by("id")
    return [
        Prediction(
            id=row["id"],
            **{name: cut(row[name] or "") for name in ("family", "text", "prediction")},
            images=tuple(row["images"] or ()),
            references=read_references(row["references"] or ""),
            score=100 * row["score"],
        )
        for row in table.to_pylist()
    ]


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


def read_spec(results: Path, key: str) -> RunSpec | None:
    """Read the spec of a run; None where it has none that can be read."""
    with suppress(DataError):
        return RunSpec.parse(stored_run(results, key) / "spec.json")[0]
    return None


def leaves(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the values of a table by their dotted names, as text; empty ones are left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            pairs += leaves(value, f"{prefix}{name}.")
        elif value not in (None, "", []):
            pairs.append((f"{prefix}{name}", as_text(value)))
    return pairs


def as_text(value: Any) -> str:
    """Return a value as people write it, cut where it is very long."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(map(as_text, value))
    return cut(f"{value:g}" if isinstance(value, float) else str(value))


def cut(text: str) -> str:
    """Return the text, or its beginning and an ellipsis."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def command(spec: RunSpec | None) -> str:
    """Return the command that repeats the run; empty without its spec."""
    if spec is None:
        return ""
    options = {"method": spec.method_file or spec.method.name, "tasks": spec.suite}
    options |= {"seeds": str(spec.seed), "backbone": spec.backbone_reference}
    options["edition"] = spec.edition
    options |= {"limit": str(spec.limit or ""), "encoder": spec.encoder, "init": spec.init}
    options["root"] = "DIR" if spec.root else ""
    given = [(f"--{name}", value) for name, value in options.items() if value]
    given += [("--set", setting) for setting in spec.settings]
    return shlex.join(["vlbench", "run", *(word for pair in given for word in pair)])
