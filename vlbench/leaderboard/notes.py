"""The notes below a leaderboard: what its numbers are, and what they stand on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vlbench.leaderboard.marks import BELOW_NOTE, BEST_NOTE, has_best
from vlbench.leaderboard.summary import Board

AVERAGE_NOTE = "Average: plain mean of the tasks, per seed, only where all of them are there."
MAJORITY_NOTE = (
    "Majority answer: the most frequent training answer of the question's family, always."
)


def board_notes(board: Board) -> list[str]:
    """Units and seeds, what the marks mean, and the data and code that the numbers come from."""
    notes = [seeds_note(board)]
    notes += [AVERAGE_NOTE] if len(board.mains) > 1 else []
    notes += [BEST_NOTE] if has_best(board) else []
    notes += [MAJORITY_NOTE] if has_majority(board) else []
    notes += [BELOW_NOTE] if any(row.below_floor for row in board.rows) else []
    return [*notes, _denominator(board), *ground_notes(board), *board.notes]


def has_majority(board: Board) -> bool:
    """Whether any task has a most frequent answer."""
    return any(score is not None for score in board.majority.values())


def counted(values: Iterable[object]) -> str:
    """The only value, or each with the runs that have it."""
    counts = Counter(map(str, values))
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{text} ({n} run{'s' * (n > 1)})" for text, n in sorted(counts.items()))


def seeds_note(board: Board) -> str:
    """The unit of the numbers, the seeds they are over, and which rows have others."""
    spread = "mean ± sample standard deviation over seeds" if len(_seeds(board)) > 1 else "seed"
    return f"Percent (CIDEr x 100); {spread} {listed_seeds(board)}."


def listed_seeds(board: Board) -> str:
    """All seeds, then the rows that have others."""
    seeds = _seeds(board)
    fewer = [row for row in board.rows if row.seeds and list(row.seeds) != seeds]
    return "; ".join([_listed(seeds), *(f"{row.label}: {_listed(row.seeds)}" for row in fewer)])


def ground_notes(board: Board) -> list[str]:
    """Which data and which code."""
    return [data_note(board), code_note(board)]


def data_note(board: Board, has_counts: bool = True) -> str:
    """The data of each task, with how many examples of the test split were scored."""
    grounds = [(task, board.grounds[task]) for task in board.mains if task in board.grounds]
    data = [
        f"{task} {ground.data_fingerprint[:8]}"
        + (f" ({ground.n_examples:,} examples)" if has_counts else "")
        for task, ground in grounds
    ]
    return f"Data: {board.edition} edition, {board.scope}: {', '.join(data)}."


def code_note(board: Board) -> str:
    """Which code wrote the runs."""
    done = [run.facts for run in board.runs if run.is_done]
    return f"Code: {counted(facts['code_version'] for facts in done)}."


def _denominator(board: Board) -> str:
    done = [run.facts for run in board.runs if run.is_done]
    return f"Trainable %: denominator {counted(facts['denominator'] for facts in done)}."


def _seeds(board: Board) -> list[int]:
    return sorted({run.facts["seed"] for run in board.runs if run.is_done})


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"
