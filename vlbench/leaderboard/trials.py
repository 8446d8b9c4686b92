"""How many trials of a search stand behind each row of a board: those in the same results folder.

A trial counts that has ended, with a score or without, and that was of the row's method, settings
but for the rate, starting weights, backbone and data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from vlbench.leaderboard.board import Board, split_overrides
from vlbench.runs.local import FINAL

RATE = "train.learning_rate"
"""What a search varies."""


def trial_rows(results: pd.DataFrame) -> pd.DataFrame:
    """The main metrics of the trials that ended: a row per task."""
    is_trial = (results["scope"] == "search") & results["status"].isin(["done", *FINAL])
    return results[is_trial & results["main"] & (results["family"] == "")]


def settings_without_rate(settings: str) -> tuple[str, ...]:
    """The overrides in a text that a search keeps the same."""
    return tuple(text for text in split_overrides(settings) if not text.startswith(f"{RATE}="))


def with_trials(boards: Iterable[Board], results: pd.DataFrame) -> list[Board]:
    """Return the boards with each row's number of trials, where the results hold any at all.

    What trains nothing has no rate to search, and no number. One trial less is no fewer: it is the
    rate outwards, which only a search has whose best rate lies at the end.
    """
    rows = trial_rows(results).to_dict("records")
    counts = Counter((_search(row), row["task"], row["data_fingerprint"]) for row in rows)

    def count(board: Board, facts: Mapping[Any, Any]) -> int | None:
        data = [(task, ground.data_fingerprint) for task, ground in board.grounds.items()]
        most = max((counts[_search(facts), *task] for task in data), default=0)
        return most if facts["epochs"] else None

    marked = []
    for board in boards if counts else ():
        numbers = [count(board, row.facts) for row in board.rows]
        most = max((n for n in numbers if n is not None), default=0)
        rows = [
            replace(row, n_trials=n, has_fewer_trials=n is not None and n < most - 1)
            for row, n in zip(board.rows, numbers, strict=True)
        ]
        marked.append(replace(board, rows=rows))
    return marked or list(boards)


def _search(facts: Mapping[Any, Any]) -> tuple[Any, ...]:
    """What a row and the trials of its search have in common, but for the data."""
    names = ("suite", "backbone", "backbone_hash", "edition", "method")
    limit = None if pd.isna(facts["limit"]) else int(facts["limit"])
    weights = facts["init"].partition(" ")[0]  # not their file's name
    settings = settings_without_rate(facts["settings"])
    return *(facts[name] for name in names), limit, weights, settings
