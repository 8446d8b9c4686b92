"""Runs with the score of each example beside their results, as a comparison reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.leaderboard.builders import TASKS, run, write

N = 60
"""Examples a task."""


def right(count: int, n: int = N) -> list[float]:
    """The scores of a model that answers the first `count` of `n` examples."""
    return [1.0] * count + [0.0] * (n - count)


def write_run(
    folder: Path, method: str, scores: Mapping[str, Sequence[float] | None], **others: Any
) -> str:
    """A run and its predictions; a task without scores has no result. Returns the run's key."""
    scored = {task: values for task, values in scores.items() if values is not None}
    rows = run(method, {task: 100 * sum(v) / len(v) for task, v in scored.items()}, **others)
    rows = [row | {"n_examples": len(scored[row["task"]])} for row in rows]
    write(folder, rows)
    key = str(rows[0]["key"])
    for task, values in scored.items():
        write_predictions(folder, key, task, values)
    return key


def write_predictions(folder: Path, key: str, task: str, scores: Sequence[float]) -> Path:
    """The predictions of one task: an id and a score for each example."""
    file = folder / "runs" / key / "predictions" / f"{task}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"{task}-{n:04}" for n in range(len(scores))]
    columns = {"id": ids, "score": list(map(float, scores)), "images": [[name] for name in ids]}
    pq.write_table(pa.table(columns), file)
    return file


def write_image_text(folder: Path, method: str, *counts: int | None, **others: Any) -> str:
    """A run of the suite image-text that answers so many examples of each task."""
    scores = {
        task: None if count is None else right(count)
        for task, count in zip(TASKS, counts, strict=True)
    }
    return write_run(folder, method, scores, **others)
