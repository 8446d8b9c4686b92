"""Which method to take: the best row of a board that fits limits, its ties, and what it gives up.

The tests are the leaderboard's: tie groups among the rows that fit, and the best of them against
the best of all rows, task by task. Floors, and what is not above one, are never recommended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vlbench.errors import NothingToReport, UsageError
from vlbench.leaderboard import tables
from vlbench.leaderboard.board import AVERAGE, Board, Row
from vlbench.leaderboard.compare import Pair, Side, compare
from vlbench.leaderboard.compare_formats import compare_tables
from vlbench.leaderboard.examples import Examples, tie_groups
from vlbench.leaderboard.normalised import NORMALISED
from vlbench.leaderboard.tables import Cell, Column, Table, number, percent, title
from vlbench.text import printable_json

COSTS = {
    "trainable_percent": "--max-trainable",
    "peak_memory_mb": "--max-memory",
    "train_minutes": "--max-minutes",
}
"""What is limited -> the option that does."""
UNITS = {
    "trainable_percent": "% trainable",
    "peak_memory_mb": "MB of peak memory",
    "train_minutes": "minutes of training",
}
COLUMNS = (
    *(Column("method"), Column("trainable", "%"), Column("peak memory", "MB")),
    Column("training", "min"),
)
COST_NOTE = "Costs: mean over seeds; peak memory of the whole process, MB 1000 KB."


class Advice(NamedTuple):
    """What to take of one board."""

    board: Board
    column: str
    """What decides: the score that rows are sorted by, or that of the only task."""
    limits: dict[str, float]
    recommended: Row
    ties: list[Row]
    """Rows that fit, too, and are not significantly different."""
    top: Row
    """The best of all rows, whatever it costs."""
    pairs: list[Pair]
    """The recommended row (A) against the best of all (B); empty where they are one."""
    notes: list[str]


def costs(row: Row) -> dict[str, float | None]:
    """What is limited, of a row; None where it was not measured."""
    memory, seconds = row.costs["peak_memory_bytes"].mean, row.costs["train_seconds"].mean
    return {
        "trainable_percent": row.facts["trainable_percent"],
        "peak_memory_mb": None if memory is None else memory / 1e6,
        "train_minutes": None if seconds is None else seconds / 60,
    }


def recommend(
    boards: Sequence[Board], examples: Examples, limits: dict[str, float]
) -> list[Advice]:
    """Advice for each board where a row fits; NothingToReport where none does anywhere.

    `boards` have tie groups of all their rows, of these `examples`.
    """
    for name, most in limits.items():
        if not 0 <= most < float("inf"):
            raise UsageError(f"{COSTS[name]} {most}: should be a number from 0 up.")
    advice: list[Advice] = []
    reasons: list[str] = []
    for board in boards:
        column = board.ranking
        ranked = [
            row
            for row in sorted(board.rows, key=lambda row: -(row.stat(column).mean or 0.0))
            if row.stat(column).n and not row.is_floor and column not in row.near_floor
        ]
        fitting = [row for row in ranked if _fits(row, limits)]
        if fitting:
            advice.append(_advice(board, column, limits, ranked, fitting, examples))
        else:
            reasons.append(f"{title(board)}: {_why_none(ranked, limits)}")
    if not advice:
        raise NothingToReport("\n".join(reasons))
    if reasons:
        advice[-1].notes.extend(reasons)
    return advice


def _fits(row: Row, limits: dict[str, float]) -> bool:
    values = costs(row)
    return all((v := values[name]) is not None and v <= most for name, most in limits.items())


def _why_none(ranked: Sequence[Row], limits: dict[str, float]) -> str:
    """Why no row fits: the least that one of them needs of each limited cost."""
    if not ranked:
        return "no method has a score above the floors."
    texts = []
    for name, most in limits.items():
        known = [(v, row.label) for row in ranked if (v := costs(row)[name]) is not None]
        least = f"the least is {min(known)[0]:.3g} ({min(known)[1]})" if known else "not measured"
        texts.append(f"{COSTS[name]} {most:g}: {least}")
    return f"no method above the floors fits {'; '.join(texts)}."


def _advice(
    board: Board,
    column: str,
    limits: dict[str, float],
    ranked: Sequence[Row],
    fitting: Sequence[Row],
    examples: Examples,
) -> Advice:
    best, *others = fitting
    tested = [row for row in fitting if column in row.ties]
    ties: list[Row] = []
    notes: list[str] = []
    if best in tested:
        scores = [examples.row_scores(row, board.tasks_of(column)) for row in tested]
        is_scaled = column == NORMALISED
        scale = Side(board, best, examples).scale(tested, scores) if is_scaled else None
        labels = [row.label for row in tested]
        groups = tie_groups(dict(zip(labels, scores, strict=True)), scale)
        ties = [row for row in others if groups.get(row.label) == 1]
    if untested := [row.label for row in fitting if row not in tested and len(fitting) > 1]:
        notes.append(f"Not tested, so without ties: {', '.join(untested)}.")
    if unknown := [row.label for row in ranked if None in [costs(row)[name] for name in limits]]:
        notes.append(f"Left out, as what is limited was not measured: {', '.join(unknown)}.")
    top = ranked[0]
    sides = [Side(board, row, examples) for row in (best, top)]
    pairs = [] if top is best else compare(sides[:1], sides[1:])
    return Advice(board, column, limits, best, ties, top, pairs, notes)


def recommend_tables(advice: Sequence[Advice]) -> list[Table]:
    """Make for each board a table of what fits best, and one of what that gives up."""
    return [table for item in advice for table in (_table(item), *compare_tables(item.pairs))]


def _table(item: Advice) -> Table:
    board, best, column = item.board, item.recommended, item.column
    tasks = board.tasks_of(column)
    is_mean = column in (AVERAGE, NORMALISED)
    name = column if is_mean else tables.short_metric(column, tasks[0])
    unit = f"{len(tasks)} of {len(board.mains)} tasks" if is_mean else ""

    def line(row: Row, verdict: str) -> list[Cell]:
        trainable, memory, minutes = costs(row).values()
        stat = row.stat(column)
        texts = [percent(trainable), number(memory, digits=0), number(minutes)]
        score = Cell(number(stat.mean), tables.deviation(stat.std))
        return [Cell(row.method, row.details), *map(Cell, texts), score, Cell(verdict)]

    sections = [[line(best, "recommended"), *(line(row, "tied with it") for row in item.ties)]]
    if item.pairs:
        sections.append([line(item.top, "the best of all")])
    most = " and ".join(f"at most {most:g} {UNITS[name]}" for name, most in item.limits.items())
    devices = tables.counted(run.facts["device"] for run in board.runs if run.is_done)
    notes = [
        "Recommended: the highest mean among the methods that fit and are above the floors. Tied "
        "with it: those of them that the test does not tell from it.",
        *([note for note in tables.ruler_notes(board) if is_mean]),
        COST_NOTE,
        f"Device: {devices}.",
        *item.notes,
        *(note for note in board.notes if note.startswith("Test:")),
    ]
    if not item.pairs:
        notes.insert(1, "It is the best of all methods here: nothing is given up.")
    columns = [*COLUMNS, Column(name, unit)]
    heading = f"{title(board)}: {most or 'whatever it costs'}"
    return Table(heading, [*columns, Column("verdict")], sections, notes)


def recommend_json(advice: Sequence[Advice]) -> str:
    """Write the advice as JSON, unrounded; what is given up as `vlbench compare` has it."""
    items = [
        {
            **{n: getattr(a.board, n) for n in ("suite", "backbone", "edition", "scope", "limit")},
            "metric": a.column,
            "limits": {name: a.limits.get(name) for name in COSTS},
            "recommended": _cells(a.recommended, a.column),
            "ties": [_cells(row, a.column) for row in a.ties],
            "best": _cells(a.top, a.column),
            "given_up": [item for pair in a.pairs for item in pair.items],
            "notes": a.notes,
        }
        for a in advice
    ]
    return printable_json({"schema": "vlbench.recommend/1", "items": items}) + "\n"


def _cells(row: Row, column: str) -> dict[str, Any]:
    stat = row.stat(column)
    return {
        **{name: getattr(row, name) for name in ("method", "settings", "init")},
        "card_hash": row.facts["card_hash"],
        "value": stat.mean,
        "std": stat.std,
        **costs(row),
        "runs": {str(seed): key for seed, key in row.runs.items()},
    }
