"""Two rows side by side: the same seeds and examples, or a sentence that says what differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.leaderboard.scored import write_predictions, write_run
from vlbench.errors import DataError
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.pairs import paired
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.statistics import Matrix
from vlbench.leaderboard.summary import summarise

TASKS = ("vqav2", "gqa")


def add(folder: Path, method: str, seed: int, *scores: float) -> str:
    return write_run(folder, method, dict.fromkeys(TASKS, scores), seed=seed, suite="vqav2+gqa")


def pair(folder: Path, tasks: Sequence[str] = TASKS) -> tuple[list[Matrix], list[Matrix]]:
    (board,) = summarise(read_results(folder))
    full, lora = sorted(board.rows, key=lambda row: row.method)
    return paired(full, lora, tasks, Examples(folder))


def test_pairs_are_the_seeds_that_both_have(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        add(tmp_path, "full", seed, 1.0, seed / 2, 1.0)
    for seed in (2, 1):
        add(tmp_path, "lora", seed, 0.0, seed / 4, 0.0)
    ours, theirs = pair(tmp_path)
    assert len(ours) == len(theirs) == 2
    assert np.array_equal(ours[0], [[1.0, 0.5, 1.0], [1.0, 1.0, 1.0]])
    assert np.array_equal(theirs[1], [[0.0, 0.25, 0.0], [0.0, 0.5, 0.0]])


def test_no_seed_in_common_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "full", 0, 1.0)
    add(tmp_path, "lora", 1, 1.0)
    with pytest.raises(DataError, match="full and lora have no seed in common"):
        pair(tmp_path)


def test_other_examples_are_refused_with_both_runs_and_how_many(tmp_path: Path) -> None:
    add(tmp_path, "full", 0, 1.0, 0.0, 1.0)
    key = add(tmp_path, "lora", 0, 1.0, 0.0, 1.0)
    write_predictions(tmp_path, key, "gqa", [1.0, 0.0])
    with pytest.raises(DataError, match=r"lora seed 0 .* gqa .* full seed 0: 1 id differs"):
        pair(tmp_path)
    assert pair(tmp_path, ["vqav2"])[0][0].shape == (1, 3)


def test_predictions_that_are_not_there_are_named(tmp_path: Path) -> None:
    add(tmp_path, "full", 0, 1.0)
    key = add(tmp_path, "lora", 0, 1.0)
    Examples(tmp_path).file(key, "gqa").unlink()
    with pytest.raises(DataError, match=r"gqa\.parquet: No such file"):
        pair(tmp_path)
