"""Runs with training curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.leaderboard.builders import TASKS, image_text, write


def loss(step: int, task: str, value: float, epoch: int = 1) -> dict[str, Any]:
    return {"step": step, "epoch": epoch, "task": task, "loss": value, "learning_rate": 1e-3}


def write_log(folder: Path, key: str, *lines: dict[str, Any]) -> Path:
    """Write a run's `metrics.jsonl`."""
    file = folder / "runs" / key / "metrics.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def trained(folder: Path, method: str, seeds: int, slow: float = 1.0, **others: Any) -> None:
    """Runs of a method with falling losses."""
    for seed in range(seeds):
        run = image_text(method, 60 / slow, 50, 60, 100, seed=seed, **others)
        write(folder, run)
        lines = [
            loss(10 * n + 10, task, slow * (seed + 5) / (n + 1))
            for n in range(40)
            for task in (list(TASKS)[n % 4],)
        ]
        write_log(folder, run[0]["key"], *lines)
