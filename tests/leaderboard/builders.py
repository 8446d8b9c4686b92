"""Result files as the runner writes them, cells from a few numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlbench.cards import find_tasks, load_method
from vlbench.parquet import COLUMNS
from vlbench.runs.spec import RunSpec
from vlbench.techniques import resolve_method

TASKS = {"vqav2": "accuracy", "gqa": "accuracy", "nlvr2": "accuracy", "coco": "cider"}
"""Main metric by task, in the order of the suite image-text."""

ROW: dict[str, Any] = {
    "attempt": 1,
    "status": "done",
    "technique": "adapter",
    "sharing": "all",
    "settings": "",
    "init": "",
    "suite": "image-text",
    "backbone": "mini-bart",
    "edition": "mini",
    "scope": "complete",
    "limit": None,
    "split": "test",
    "seed": 0,
    "main": True,
    "family": "",
    "majority": None,
    "n_examples": 500,
    "trainable_parameters": 80_000,
    "total_parameters": 2_000_000,
    "trainable_percent": 4.0,
    "denominator": "backbone + visual embedding + technique",
    "adapter_bytes": 330_000,
    "peak_memory_bytes": 612_000_000,
    "train_seconds": 71.25,
    "examples_per_second": 812.5,
    "evaluate_seconds": 3.5,
    "learning_rate": 1e-3,
    "epochs": 20,
    "batch_size": 60,
    "precision": "fp32",
    "device": "cpu",
    "card_hash": "c0ffee" * 10,
    "backbone_hash": "beef" * 16,
    "code_version": "0.1.0",
    "versions": '{"python": "3.11"}',
    "created_at": "2026-11-22T10:00:00+00:00",
    "model_parameters": 2_000_000,
    "projector": True,
}


def row(method: str, task: str, value: float | None, **others: Any) -> dict[str, Any]:
    """One row of a result file; `metric` is the task's main one unless it is given."""
    cells = ROW | {"method": method, "title": method.replace("-", " ").title(), "task": task}
    cells |= {"metric": f"{task}.{TASKS.get(task, 'accuracy')}", "value": value}
    cells |= {"data_fingerprint": f"{task}-of-{others.get('edition', 'mini')}"} | others
    what = f"{method}-{cells['settings']}{cells['init'][:12]}"
    cells.setdefault("key", f"{what}-{cells['edition']}-{cells['seed']}")
    assert set(cells) == {column.name for column in COLUMNS}
    return cells


def run(method: str, values: dict[str, float | None], **others: Any) -> list[dict[str, Any]]:
    """The rows of one run: the main metric of each task."""
    return [row(method, task, value, **others) for task, value in values.items()]


def write(folder: Path, *runs: list[dict[str, Any]]) -> Path:
    """Write each run's rows to its folder below `folder`."""
    for rows in runs:
        run_folder = folder / "runs" / str(rows[0]["key"]).replace("/", "-")
        run_folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), run_folder / "result.parquet")
    return folder


def image_text(method: str, *values: float | None, **others: Any) -> list[dict[str, Any]]:
    """A run of the suite image-text with its four values."""
    return run(method, dict(zip(TASKS, values, strict=True)), **others)


def begin(folder: Path, method: str, event: str, seed: int = 0) -> RunSpec:
    """A run of `gqa` without a result, whose last attempt ended so; with no event: only planned."""
    spec = RunSpec(
        method=resolve_method(load_method(method), "mini-bart", "gqa"),
        suite="gqa",
        tasks=tuple(find_tasks("gqa")[1]),
        backbone="mini-bart",
        backbone_hash=str(ROW["backbone_hash"]),
        edition="mini",
        root="",
        data={"gqa": "gqa-of-mini"},
        seed=seed,
    )
    run_folder = folder / "runs" / spec.key
    run_folder.mkdir(parents=True)
    (run_folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    events = ["began", event] if event else []
    lines = [json.dumps({"attempt": 1, "event": name}) + "\n" for name in events]
    (run_folder / "attempts.jsonl").write_text("".join(lines), encoding="utf-8")
    return spec
