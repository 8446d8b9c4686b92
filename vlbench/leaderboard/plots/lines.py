"""The lines of a picture of training: one per method and task, over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vlbench.leaderboard.logs import Log
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.summary import Board, Row

BINS = 24
"""A line of losses has so many points at most, each the median of a stretch of steps."""
FEWEST = 2
"""A bin has about so many losses of each seed at least."""
Curve = Mapping[float, float]
"""Height by place, of one seed."""


@dataclass(frozen=True)
class Line:
    """One method: at each place the mean of its seeds, the lowest and the highest."""

    row: Row
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    n: int
    """Seeds."""


@dataclass(frozen=True)
class Lines:
    """What one pair of axes shows: the losses of a task, or a metric on the validation split."""

    name: str
    lines: Sequence[Line]


Logs = Mapping[str, Mapping[int, Log]]
"""By row label and seed."""


def loss_lines(board: Board, logs: Logs) -> list[Lines]:
    """For each task the losses by step."""
    return _made(board, logs, list(board.mains), _losses)


def validation_lines(board: Board, logs: Logs) -> list[Lines]:
    """The average on the validation split by epoch, where there are several tasks, then each."""
    average = [AVERAGE] if len(board.mains) > 1 else []
    metrics = list(board.mains.values())

    def curves(seeds: Sequence[Log], name: str) -> list[Curve]:
        return [_validation(log, metrics if name == AVERAGE else [name]) for log in seeds]

    return _made(board, logs, [*average, *metrics], curves)


def _made(
    board: Board,
    logs: Logs,
    names: Sequence[str],
    curves: Callable[[Sequence[Log], str], list[Curve]],
) -> list[Lines]:
    found = []
    for name in names:
        lines = [
            line
            for row in board.rows
            if (line := _line(row, curves(list(logs[row.label].values()), name)))
        ]
        found += [Lines(name, lines)] if lines else []
    return found


def _line(row: Row, curves: Sequence[Curve]) -> Line | None:
    """The curves of the seeds as one line, at the places they all have, if any."""
    there = [curve for curve in curves if curve]
    places = sorted(set.intersection(*map(set, there))) if there else []
    heights = [[curve[place] for curve in there] for place in places]
    if not places:
        return None
    return Line(
        row,
        x=places,
        mean=[statistics.fmean(each) for each in heights],
        low=[min(each) for each in heights],
        high=[max(each) for each in heights],
        n=len(there),
    )


def _losses(seeds: Sequence[Log], task: str) -> list[Curve]:
    """For each seed the median loss of each stretch of steps, by the stretch's middle."""
    counts = [len(log.losses.get(task, ())) for log in seeds]
    bins = max(1, min([BINS, *(count // FEWEST for count in counts if count)]))
    last = max((log.last_step for log in seeds), default=0)
    return [_stretches(log.losses.get(task, ()), last / bins, bins) for log in seeds]


def _stretches(points: Sequence[tuple[int, float]], size: float, bins: int) -> Curve:
    parts: dict[int, list[float]] = {}
    for step, loss in points:
        parts.setdefault(min(int(step / size), bins - 1), []).append(loss)
    return {(number + 0.5) * size: statistics.median(each) for number, each in parts.items()}


def _validation(log: Log, metrics: Sequence[str]) -> Curve:
    """The mean of the metrics by epoch, where all of them are there."""
    return {
        epoch: statistics.fmean(values[metric] for metric in metrics)
        for epoch, values in log.validations.items()
        if all(metric in values for metric in metrics)
    }
