"""What the tables say, before any format: headings, cells and footnotes of a board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlbench.leaderboard.summary import Board, Row, Stat

NONE = "—"
BELOW = "↓"
MAJORITY_NOTE = (
    "Majority answer: the most frequent training answer of the question's family, always."
)
BELOW_NOTE = f"{BELOW} marks what is at or below a floor: the majority answer or the frozen row."


class Heading(NamedTuple):
    """The head of a column: its name, and what is measured."""

    name: str
    unit: str = ""


class Cell(NamedTuple):
    """One cell: a number with its deviation apart, so that numbers stand below each other."""

    text: str
    tail: str = ""
    is_below: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table to show: the first column is text, all others are numbers."""

    title: str
    headings: Sequence[Heading]
    sections: Sequence[Sequence[Sequence[Cell]]]
    """Groups of rows, with a line between them."""
    notes: Sequence[str]


def main_sheet(board: Board) -> Sheet:
    """The leaderboard: a row per method, the main metric of each task, the average."""
    has_average = len(board.mains) > 1
    headings = [Heading("method"), Heading("trainable", "%")]
    headings += [Heading(task, _short(metric, task)) for task, metric in board.mains.items()]
    headings += [Heading("average", f"{len(board.mains)} tasks")] if has_average else []
    headings += [Heading("seeds", "n")]
    methods = [_main_row(row, board, has_average) for row in board.rows if not row.is_floor]
    floors = [_main_row(row, board, has_average) for row in board.rows if row.is_floor]
    floors += [_majority_row(board)] if _has_majority(board) else []
    sections = [section for section in (methods, floors) if section]
    return Sheet(_title(board), headings, sections, _notes(board))


def family_sheets(board: Board) -> list[Sheet]:
    """A table per task that has question families: a row per family, a column per method."""
    sheets = []
    for task, metric in board.mains.items():
        names = sorted(family for name, family in board.families if name == metric and family)
        if not names:
            continue
        headings = [Heading("family"), Heading("examples", "n"), Heading("majority", "%")]
        headings += [Heading(row.label, "%") for row in board.rows]
        notes = [
            f"Mean over seeds; {BELOW} marks what is at or below the family's majority answer."
        ]
        rows = [_family_row(board, metric, family) for family in names]
        last = [_family_row(board, metric, "")]
        title = f"{_title(board)}: {task} {_short(metric, task)} by family"
        sheets.append(Sheet(title, headings, [rows, last], notes))
    return sheets


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
    devices = Counter(str(run.facts["device"]) for run in board.runs if run.is_done)
    notes = [
        "Mean over seeds; KB is 1000 bytes, MB 1000 KB. Training is without validation.",
        "Evaluation generates and scores the test split of all tasks.",
        f"Device: {_counted(devices)}.",
    ]
    rows = [_cost_row(row) for row in board.rows]
    return Sheet(f"{_title(board)}: costs", headings, [rows], notes)


def _main_row(row: Row, board: Board, has_average: bool) -> list[Cell]:
    cells = [Cell(row.method, row.details), Cell(_percent(row.facts["trainable_percent"]))]
    cells += [
        _stat(row.stat(metric), len(row.seeds), metric in row.below_floor)
        for metric in board.mains.values()
    ]
    if has_average and row.average.n:
        cells.append(_stat(row.average, len(row.seeds), "average" in row.below_floor))
    elif has_average:
        there = sum(row.stat(metric).n > 0 for metric in board.mains.values())
        cells.append(Cell(NONE, f" {there}/{len(board.mains)}"))
    return [*cells, Cell(str(len(row.seeds)))]


def _has_majority(board: Board) -> bool:
    return any(score is not None for score in board.majority.values())


def _majority_row(board: Board) -> list[Cell]:
    cells = [Cell(_number(board.majority[metric])) for metric in board.mains.values()]
    average = [Cell(NONE)] if len(board.mains) > 1 else []
    return [Cell("majority answer"), Cell(NONE), *cells, *average, Cell(NONE)]


def _family_row(board: Board, metric: str, family: str) -> list[Cell]:
    examples = board.families[metric, family].n_examples
    majority = board.families[metric, family].majority if family else board.majority[metric]
    means = [row.stat(metric, family).mean for row in board.rows]
    below = [None not in (mean, majority) and mean <= majority for mean in means]  # type: ignore[operator]
    cells = [Cell(_number(mean), "", is_below) for mean, is_below in zip(means, below, strict=True)]
    return [Cell(family or "all"), Cell(f"{examples:,}"), Cell(_number(majority)), *cells]


def _cost_row(row: Row) -> list[Cell]:
    parameters = row.facts["trainable_parameters"]
    costs = {name: stat.mean for name, stat in row.costs.items()}
    return [
        Cell(row.method, row.details),
        Cell(NONE if parameters is None else f"{parameters:,}"),
        Cell(_percent(row.facts["trainable_percent"])),
        Cell(_number(costs["adapter_bytes"], 1e-3)),
        Cell(_number(costs["peak_memory_bytes"], 1e-6, digits=0)),
        Cell(_number(costs["train_seconds"])),
        Cell(_number(costs["examples_per_second"], digits=0)),
        Cell(_number(costs["evaluate_seconds"])),
    ]


def _title(board: Board) -> str:
    text = f"{board.suite} on {board.backbone}, {board.edition} edition, test split"
    if board.scope == "complete":
        return text
    cut = "" if board.limit is None else f": data cut to {board.limit} examples a task"
    return f"{text} ({board.scope}{cut})"


def _notes(board: Board) -> list[str]:
    done = [run for run in board.runs if run.is_done]
    seeds = sorted({run.facts["seed"] for run in done})
    spread = "mean ± sample standard deviation over seeds" if len(seeds) > 1 else "seed"
    fewer = [row for row in board.rows if row.seeds and list(row.seeds) != seeds]
    others = "".join(f"; {row.label}: {_listed(row.seeds)}" for row in fewer)
    notes = [f"Percent (CIDEr x 100); {spread} {_listed(seeds)}{others}."]
    if len(board.mains) > 1:
        notes.append(
            "Average: plain mean of the tasks, per seed, only where all of them are there."
        )
    notes += [MAJORITY_NOTE] if _has_majority(board) else []
    notes += [BELOW_NOTE] if any(row.below_floor for row in board.rows) else []
    counts = Counter(str(run.facts["denominator"]) for run in done)
    notes.append(f"Trainable %: denominator {_counted(counts)}.")
    grounds = [
        f"{task} {ground.data_fingerprint[:8]} ({ground.n_examples:,} examples)"
        for task, ground in ((task, board.grounds.get(task)) for task in board.mains)
        if ground
    ]
    notes.append(f"Data: {', '.join(grounds)}.")
    notes.append(f"Code: {_counted(Counter(str(run.facts['code_version']) for run in done))}.")
    return [*notes, *board.notes]


def _counted(counts: Counter[str]) -> str:
    """The only value, or each with the runs that have it."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{text} ({n} run{'s' * (n > 1)})" for text, n in sorted(counts.items()))


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"


def _stat(stat: Stat, n_seeds: int, is_below: bool) -> Cell:
    tail = "" if stat.std is None else f" ±{stat.std:.1f}"
    fewer = f" (n={stat.n})" if 0 < stat.n < n_seeds else ""
    return Cell(_number(stat.mean), tail + fewer, is_below)


def _short(metric: str, task: str) -> str:
    """`accuracy` for `vqav2.accuracy`; nothing where the metric is not known."""
    return "" if metric == task else metric.removeprefix(f"{task}.")


def _number(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    return NONE if value is None else f"{value * scale:,.{digits}f}"


def _percent(value: float | None) -> str:
    """Two decimals, or as many as show two digits of a small one."""
    if value is None:
        return NONE
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"
