"""What pages are made from: the boards, and the run folders behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import DataError
from vlbench.leaderboard.board import Board, Run
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.logs import Log, read_log
from vlbench.leaderboard.paper import paper_rows
from vlbench.leaderboard.site.difficulty import Difficulty, difficulty
from vlbench.leaderboard.site.folder import SiteFolder
from vlbench.leaderboard.site.layout import Layout, Place
from vlbench.leaderboard.site.names import is_plain
from vlbench.leaderboard.site.pictures import Picture, Pictures
from vlbench.leaderboard.site.predictions import Prediction
from vlbench.leaderboard.site.specs import read_spec, task_card

MOST_KEPT = 300
"""Specs in memory."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Shown:
    """A prediction on a page, with its pictures and the mean score of all methods."""

    example: Prediction
    pictures: Sequence[Picture]
    mean: float | None
    """Over the methods, in percent."""


class Source:
    """Reads what the pages of one site show, and keeps what several pages need."""

    def __init__(
        self,
        boards: Sequence[Board],
        results: Path,
        folder: SiteFolder,
        say: Say = lambda _: None,
        has_media: bool = True,
    ) -> None:
        self.layout = Layout(boards)
        self.results = results
        self.say = say
        self.pictures = Pictures(folder, say, has_media)
        self.runs: Mapping[str, Run] = {run.key: run for board in boards for run in board.runs}
        self.papers = paper_rows()
        self._difficulties: dict[tuple[str, str], Difficulty | None] = {}
        self._specs: dict[str, dict[str, Any]] = {}
        _refuse_paths([*self.runs, *self.layout.tasks], results)

    def file(self, key: str, task: str) -> Path:
        """Where a run's predictions lie."""
        return Examples(self.results).file(key, task)

    def difficulty(self, place: Place, task: str) -> Difficulty | None:
        """How hard the examples of a board's task are."""
        what = (place.anchor, task)
        if what not in self._difficulties:
            self._difficulties[what] = difficulty(place, task, Examples(self.results))
        return self._difficulties[what]

    def spec(self, key: str) -> dict[str, Any]:
        """The spec of a run; some are kept, as several pages ask for the same ones."""
        if key not in self._specs:
            if len(self._specs) >= MOST_KEPT:
                self._specs.clear()
            self._specs[key] = read_spec(self.results, key)
        return self._specs[key]

    def log(self, key: str) -> Log | None:
        """The training curve of a run; of a damaged one a word is said, and the page has none."""
        try:
            return read_log(self.results, key)
        except DataError as error:
            self.say(f"no training curve: {error}")
            return None

    def card(self, place: Place, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The spec of the newest run of a board that tells the task's card, and the card."""
        for run in sorted(place.board.runs, key=lambda run: run.age, reverse=True):
            spec = self.spec(run.key)
            if card := task_card(spec, task):
                return spec, card
        return {}, {}

    def shown(self, place: Place, task: str, key: str, example: Prediction) -> Shown:
        """An example of a run with its pictures."""
        spec = self.spec(key)
        known = self.difficulty(place, task)
        has_mean = known is not None and example.id in known.ids
        return Shown(
            example,
            self.pictures.of(spec, task_card(spec, task), example),
            known.mean(example.id) if known is not None and has_mean else None,
        )


def _refuse_paths(names: Sequence[str], results: Path) -> None:
    """Keys and task names are looked for as files: results from elsewhere could lead anywhere."""
    for name in names:
        if not is_plain(name):
            raise DataError(f"{results}: A run key or task is called {name!r}, which is a path.")
