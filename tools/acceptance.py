"""`python -m tools.acceptance RESULTS`: whether a folder's boards tell methods apart.

Every bar is a line with what was measured; `tools/leaderboard.py` asks for them before it writes.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from tools.command import run_command
from vlbench.cli import print_table
from vlbench.errors import DataError, RunFailed
from vlbench.leaderboard.board import Board, Row
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.load import Filters, read_boards
from vlbench.leaderboard.normalised import HIGHEST, scale_of
from vlbench.leaderboard.results import read_parquet
from vlbench.leaderboard.statistics import LEAST_SEEDS, RowScores, test_difference
from vlbench.leaderboard.tables import deviation, number
from vlbench.metrics import listed
from vlbench.process import guard_output

LEAST_SPAN = 25.0
"""Points from a column's floor to full fine-tuning."""
MOST_DEVIATION = 1.5
"""Points of the normalised score: the median over methods of the deviation over seeds."""
SMALL_FAMILY = 0.03
"""Share of a task's questions up to which a family may be out of full fine-tuning's reach."""


class Bar(NamedTuple):
    """What is asked of a board, what was measured, and whether that is enough."""

    of: str
    text: str
    measured: str
    is_met: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """A line of a table."""
        return "ok" if self.is_met else "missed", self.of, self.text, self.measured


HEADS = ("", "board", "bar", "measured")


def all_bars(boards: Sequence[Board], examples: Examples) -> list[Bar]:
    """Measure every bar of these boards."""
    return [bar for board in boards for bar in _board_bars(board, examples)]


def _board_bars(board: Board, examples: Examples) -> Iterator[Bar]:
    of = f"{board.suite} on {board.backbone}"
    methods = [row for row in board.rows if not row.is_floor]
    if board.ruler:
        (full,) = (row for row in board.rows if row.label == board.ruler.row)
        for task, metric in board.mains.items():
            floor = board.ruler.all_floors[metric]
            yield from _column_bars(f"{of}: {task}", metric, board.ruler.full[metric], floor)
            above = [row for row in methods if _is_above_floor(row, board, task, floor, examples)]
            share = f"{len(above)} of {len(methods)}"
            text = "at least half of the methods above floor + 2 SE"
            yield Bar(f"{of}: {task}", text, share, 2 * len(above) >= len(methods))
            yield from _family_bars(f"{of}: {task}", board, task, full, examples)
    else:
        yield Bar(of, "full with all tasks, and a floor of each", "missing", is_met=False)
    deviations = [row.normalised.std for row in methods if row.normalised.std is not None]
    median = statistics.median(deviations) if deviations else None
    text = f"median deviation over seeds of the normalised score at most {MOST_DEVIATION}"
    yield Bar(of, text, number(median, digits=2), median is not None and median <= MOST_DEVIATION)
    equal = [" = ".join(labels) for labels in _equal_rows(board)]
    yield Bar(of, "no two rows equal in every cell", "; ".join(equal) or "none", not equal)
    trained = [row for row in board.rows if row.facts["epochs"] != 0]
    few = [f"{row.label} {row.average.n}" for row in trained if row.average.n < LEAST_SEEDS]
    share = _share(few, len(trained))
    yield Bar(of, f"{LEAST_SEEDS} seeds a row, with all tasks", share, not few)
    fewer = [row for row in trained if not row.n_trials or row.has_fewer_trials]
    share = _share([f"{row.label} {row.n_trials or 0}" for row in fewer], len(trained))
    yield Bar(of, "a search for every row, with as many trials", share, not fewer)


def _column_bars(of: str, metric: str, full: float, floor: float) -> Iterator[Bar]:
    span, share = full - floor, full / scale_of(metric)
    text = f"full at least {LEAST_SPAN:g} points above the floor"
    yield Bar(of, text, f"{span:.1f} ({full:.1f} - {floor:.1f})", span >= LEAST_SPAN)
    text = f"full at most {100 * HIGHEST:g} % of the scale"
    yield Bar(of, text, f"{100 * share:.1f} %", share <= HIGHEST)


def _is_above_floor(row: Row, board: Board, task: str, floor: float, examples: Examples) -> bool:
    has_task = row.stat(board.mains[task]).n > 0
    return has_task and _is_above(examples.row_scores(row, [task]), floor)


def _is_above(scores: RowScores, floor: float) -> bool:
    """Whether scores on a task are more than two standard errors above a number, in percent."""
    constant = np.full((1, len(scores.example_means[0])), floor / 100)
    test = test_difference(scores, RowScores.of([constant], scores.clusters))
    return test.difference > 2 * test.standard_error


def _family_bars(of: str, board: Board, task: str, full: Row, examples: Examples) -> Iterator[Bar]:
    """The bar of a task's families, if it has any."""
    metric, least = board.mains[task], SMALL_FAMILY * board.grounds[task].n_examples
    majorities = {
        family: part.majority
        for (name, family), part in board.families.items()
        if name == metric and family and part.majority is not None and part.n_examples > least
    }
    if majorities:
        dead = [
            family
            for family, majority in majorities.items()
            if not _is_above(_family_scores(full, task, family, examples), majority)
        ]
        families = f"families of over {100 * SMALL_FAMILY:g} % of the questions"
        text = f"full more than 2 SE above the majority answer in {families}"
        yield Bar(of, text, _share(dead, len(majorities)), not dead)


def _family_scores(row: Row, task: str, family: str, examples: Examples) -> RowScores:
    examples.ids(row, task)  # all seeds have the same
    keys = list(row.runs.values())
    file = examples.file(keys[0], task)
    table = read_parquet(file, ["id", "family"]).to_pandas().sort_values("id", kind="stable")
    is_of_family = (table["family"] == family).to_numpy()
    if not is_of_family.any():
        raise DataError(f"{file}: no question of the family '{family}'")
    scores = np.stack([examples.scores(key, task).values[is_of_family] for key in keys])
    clusters = examples.clusters(keys[0], task)[is_of_family]
    return RowScores.of([scores], [np.unique(clusters, return_inverse=True)[1]])


def _equal_rows(board: Board) -> list[list[str]]:
    """Labels of the rows whose scores are printed alike, in groups."""
    labels: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in board.rows:
        stats = [row.stat(metric) for metric in board.mains.values()]
        if row.runs:
            labels[*(number(s.mean) + deviation(s.std) for s in stats)].append(row.label)
    return [group for group in labels.values() if len(group) > 1]


def _share(missing: Sequence[str], count: int) -> str:
    """How many of so many clear a bar, and the names of those that do not."""
    return f"{count - len(missing)} of {count}" + f", not {listed(missing)}" * bool(missing)


def acceptance(
    results: Annotated[Path, typer.Argument(help="A results folder, packed or not.")],
) -> None:
    """Measure every bar of a folder's boards; ends with 1 where one is missed."""
    examples = Examples(results)
    bars = all_bars(read_boards(results, Filters(), examples), examples)
    print_table([bar.cells for bar in bars], HEADS)
    if not all(bar.is_met for bar in bars):
        raise typer.Exit(RunFailed.exit_code)


if __name__ == "__main__":
    guard_output()
    run_command(acceptance, "tools.acceptance")
