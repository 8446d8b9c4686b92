"""Boards made from a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.leaderboard.builders import TASKS, image_text, row, write
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.summarise import summarise

OFFICIAL = {"vqav2": 26_280, "gqa": 12_578, "nlvr2": 6_967, "coco": 5_000}
"""Test examples of the full edition."""
METRICS = tuple(f"{task}.{metric}" for task, metric in TASKS.items())


def boards_of(folder: Path, *runs: list[dict[str, Any]]) -> list[Board]:
    """The boards of some runs."""
    return summarise(read_results(write(folder, *runs)), {"image-text": list(TASKS)})


def three_methods(folder: Path) -> Board:
    """Three seeds of `full`, one of an adapter that lacks its captions, the frozen floor."""
    runs = [
        image_text("full", 66 + seed, 58, 71, 112, seed=seed, majority=30.0) for seed in range(3)
    ]
    runs += [image_text("frozen", 41, 38, 51, 40, majority=30.0)]
    runs += [image_text("shared-adapter", 64, 20, 69, None, settings="params.a_b=[1]|*")]
    for rows in runs:
        method, shared = rows[0]["method"], {name: rows[0][name] for name in ("seed", "settings")}
        rows += [
            row(method, "vqav2", 70, family="how many", n_examples=200, majority=20.0, **shared),
            row(method, "vqav2", 40, family="is there", n_examples=300, majority=50.0, **shared),
            row(method, "coco", 30, metric="coco.bleu_4", main=False, **shared),
        ]
    [board] = boards_of(folder, *runs)
    return board


def official(method: str, *values: float | None, **others: Any) -> list[dict[str, Any]]:
    """A run of the suite image-text on CLIP-BART and all of the full edition."""
    setup = {"backbone": "clip-bart", "edition": "full"} | others
    return [
        row | {"n_examples": OFFICIAL[row["task"]]} for row in image_text(method, *values, **setup)
    ]


def tied(board: Board, groups: Mapping[str, Mapping[str, int]]) -> Board:
    """The board with tie groups by method and metric."""
    rows = [replace(row, ties=groups.get(row.method, {})) for row in board.rows]
    return replace(board, rows=rows)
