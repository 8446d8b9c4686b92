"""The boards of a results folder that the filters leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.selection import select, suite_tasks
from vlbench.leaderboard.summary import Board, summarise


class Filters(NamedTuple):
    """Which results are meant."""

    tasks: Sequence[str] = ()
    backbone: Sequence[str] = ()
    edition: Sequence[str] = ()
    include: Sequence[str] = ()
    backbones: Iterable[str] = ()
    """The backbones there are."""
    methods: Sequence[str] = ()


def read_boards(results: Path, filters: Filters) -> list[Board]:
    """The boards; NothingToReport where the filters leave nothing."""
    chosen = select(
        read_results(results),
        results,
        methods=filters.methods,
        tasks=filters.tasks,
        backbone=",".join(filters.backbone),
        backbones=filters.backbones,
        edition=",".join(filters.edition),
        include=filters.include,
    )
    return summarise(chosen, suite_tasks())
