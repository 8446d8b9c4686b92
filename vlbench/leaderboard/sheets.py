"""What the tables say, before any format: headings, cells and notes of a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlbench.leaderboard.marks import AVERAGE, is_best
from vlbench.leaderboard.notes import board_notes, counted, has_majority
from vlbench.leaderboard.numbers import NONE, deviation, number, percent, short_metric
from vlbench.leaderboard.summary import Board, Row, Stat


class Heading(NamedTuple):
    """The head of a column: its name, and what is measured."""

    name: str
    unit: str = ""


class Cell(NamedTuple):
    """One cell: a number with its deviation apart, so that numbers stand below each other."""

    text: str
    tail: str = ""
    is_below: bool = False
    is_best: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table to show: the first column is text, all others are numbers."""

    title: str
    headings: Sequence[Heading]
    sections: Sequence[Sequence[Sequence[Cell]]]
    """Groups of rows, with a line between them; the first is what was measured and ranked."""
    notes: Sequence[str]
    label: str = "table"
    """What a paper refers to it by, in a few words; several sheets may have the same."""


def main_sheet(board: Board) -> Sheet:
    """The leaderboard: a row per method, the main metric of each task, the average."""
    methods = [_main_row(row, board) for row in board.rows if not row.is_floor]
    floors = [_main_row(row, board) for row in board.rows if row.is_floor]
    floors += [_majority_row(board)] if has_majority(board) else []
    sections = [section for section in (methods, floors) if section]
    notes = board_notes(board)
    return Sheet(title(board), main_headings(board), sections, notes, label(board))


def main_headings(board: Board) -> list[Heading]:
    """Method, trainable percent, a column per task, the average of several, seeds."""
    tasks = [Heading(task, short_metric(metric, task)) for task, metric in board.mains.items()]
    average = [Heading("average", f"{len(tasks)} tasks")] if len(tasks) > 1 else []
    return [Heading("method"), Heading("trainable", "%"), *tasks, *average, Heading("seeds", "n")]


def cost_sheet(board: Board) -> Sheet:
    """What each method costs: parameters, storage, memory, time."""
    headings = [
        Heading("method"),
        Heading("trainable", "parameters"),
        Heading("trainable", "%"),
        Heading("adapter", "KB"),
        Heading("peak memory", "MB"),
        Heading("training", "s"),
        Heading("throughput", "examples/s"),
        Heading("evaluation", "s"),
    ]
    notes = [
        "Mean over seeds; KB is 1000 bytes, MB 1000 KB. Training is without validation.",
        "Evaluation generates and scores the test split of all tasks shown.",
        f"Device: {counted(run.facts['device'] for run in board.runs if run.is_done)}.",
    ]
    sections = [
        [_cost_row(row) for row in board.rows if row.is_floor is floor] for floor in (False, True)
    ]
    shown = [rows for rows in sections if rows]
    return Sheet(f"{title(board)}: costs", headings, shown, notes, f"{label(board)} costs")


def title(board: Board) -> str:
    """Suite, backbone, edition and split, what cut the data, and what tells boards apart."""
    cut = "" if board.limit is None else f": data cut to {board.limit} examples a task"
    scope = "" if board.scope == "complete" else f" ({board.scope}{cut})"
    apart = f" ({board.apart})" if board.apart else ""
    what = f"{', '.join(board.mains)} of {board.suite}" if board.is_part else board.suite
    return f"{what} on {board.backbone}, {board.edition} edition, test split{scope}{apart}"


def label(board: Board) -> str:
    """Suite or task, backbone, and what is not as by default: `image-text mini-bart`."""
    names = {board.edition, board.scope} - {"mini", "complete"}
    tasks = "+".join(board.mains) if board.is_part else board.suite
    return " ".join([tasks, board.backbone, *sorted(names)])


def _main_row(row: Row, board: Board) -> list[Cell]:
    cells = [Cell(row.method, row.details), Cell(percent(row.facts["trainable_percent"]))]
    cells += [_stat(board, row, metric, row.stat(metric)) for metric in board.mains.values()]
    if len(board.mains) > 1 and row.average.n:
        cells.append(_stat(board, row, AVERAGE, row.average))
    elif len(board.mains) > 1:
        there = sum(row.stat(metric).n > 0 for metric in board.mains.values())
        cells.append(Cell(NONE, f" {there}/{len(board.mains)}"))
    return [*cells, Cell(str(len(row.seeds)))]


def _majority_row(board: Board) -> list[Cell]:
    cells = [Cell(number(board.majority[metric])) for metric in board.mains.values()]
    average = [Cell(NONE)] if len(board.mains) > 1 else []
    return [Cell("majority answer"), Cell(NONE), *cells, *average, Cell(NONE)]


def _cost_row(row: Row) -> list[Cell]:
    parameters = row.facts["trainable_parameters"]
    costs = {name: stat.mean for name, stat in row.costs.items()}
    return [
        Cell(row.method, row.details),
        Cell(NONE if parameters is None else f"{parameters:,}"),
        Cell(percent(row.facts["trainable_percent"])),
        Cell(number(costs["adapter_bytes"], 1e-3)),
        Cell(number(costs["peak_memory_bytes"], 1e-6, digits=0)),
        Cell(number(costs["train_seconds"])),
        Cell(number(costs["examples_per_second"], digits=0)),
        Cell(number(costs["evaluate_seconds"])),
    ]


def _stat(board: Board, row: Row, metric: str, stat: Stat) -> Cell:
    fewer = f" (n={stat.n})" if 0 < stat.n < len(row.seeds) else ""
    return Cell(
        number(stat.mean),
        deviation(stat.std) + fewer,
        metric in row.below_floor,
        is_best(row, metric, board),
    )
