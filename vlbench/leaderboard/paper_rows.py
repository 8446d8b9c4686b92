"""Published rows beside measured ones: which belong to a board, and where the two are comparable.

A difference is formed where the protocols match: the full edition, all of it (no `--limit`), the
same backbone and suite, the card as it is from scratch, and for each task the metric and the test
split that the papers report, with as many examples as the official files hold.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vlbench.cards.load import load_task
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.paper import PaperRow, trust
from vlbench.leaderboard.summary import Board, Row

BACKBONE = "clip-bart"
"""Whose rows are shown beside a backbone that no paper has."""
TEST_SPLITS = {
    "vqav2": ("test",),  # Karpathy test
    "gqa": ("testdev",),
    "nlvr2": ("test1",),  # test-P
    "coco": ("test",),  # Karpathy test
}
"""The splits the papers tested on, as our readers call them. The video tasks are not here: papers
have VALUE's hidden test labels from its server, and vlbench scores the validation split."""


@dataclass(frozen=True)
class Published:
    """A published row, and how far the measured row of its method is from it."""

    row: PaperRow
    differences: Mapping[str, float]
    """Measured minus published, by main metric and "average"; where they are comparable."""


@dataclass(frozen=True)
class PaperPart:
    """The published rows to show with a board."""

    rows: Sequence[Published]
    otherwise: Sequence[str]
    """What is other there than here; empty: the rows may stand in the same table."""
    incomparable: Sequence[str]
    """Tasks whose published numbers are of another split, metric or number of examples."""


def published_with(
    board: Board, rows: Sequence[PaperRow], methods: Collection[str] | None = None
) -> PaperPart:
    """The published rows of the board's suite; `methods` are those to show, None is all."""
    there = [
        row
        for row in rows
        if row.suite == board.suite
        and row.method is not None
        and (methods is None or row.method in methods)
    ]
    own = [row for row in there if row.backbone == board.backbone]
    shown = own or [row for row in there if row.backbone == BACKBONE]
    otherwise = ["other data"] if board.edition != "full" or board.scope != "complete" else []
    otherwise += [] if own else ["another backbone"]
    tasks = {} if otherwise else comparable_tasks(board)
    ranked = sorted(shown, key=lambda row: (*_rank(board, row), *trust(row)))
    return PaperPart(
        rows=[Published(row, _differences(board, row, tasks)) for row in _once(ranked)],
        otherwise=otherwise,
        incomparable=[] if otherwise else [task for task in board.mains if task not in tasks],
    )


def comparable_tasks(board: Board) -> dict[str, str]:
    """Main metric by task, of the tasks measured on the papers' split, and on all of it."""
    found = {}
    for task, metric in board.mains.items():
        if task not in TEST_SPLITS or task not in board.grounds:
            continue
        card = load_task(task)
        splits = card.splits["full"].test if "full" in card.splits else ()
        official = sum(card.sizes.get(split, 0) for split in splits)
        if splits == TEST_SPLITS[task] and board.grounds[task].n_examples == official:
            found[task] = metric
    return found


def _rank(board: Board, row: PaperRow) -> tuple[int, str]:
    """Where the method stands on the board; after all others, by name, where it does not."""
    methods = [each.method for each in board.rows]
    rank = methods.index(row.method) if row.method in methods else len(methods)
    return rank, str(row.method)


def _once(rows: Sequence[PaperRow]) -> list[PaperRow]:
    """The rows without those that a paper prints again, such as its method in an ablation."""
    found: list[PaperRow] = []
    for row in rows:
        same = (row.paper, row.method, row.metrics)
        if same not in [(each.paper, each.method, each.metrics) for each in found]:
            found.append(row)
    return found


def _differences(board: Board, row: PaperRow, tasks: Mapping[str, str]) -> dict[str, float]:
    measured = _measured(board, row)
    if measured is None:
        return {}
    means = {metric: measured.stat(metric).mean for metric in tasks.values()}
    if list(tasks) == list(board.mains):
        means[AVERAGE] = measured.average.mean
    return {
        name: mean - row.metrics[name].mean
        for name, mean in means.items()
        if mean is not None and name in row.metrics
    }


def _measured(board: Board, row: PaperRow) -> Row | None:
    """The row of the method's card as it is; None where there is none, or more than one version."""
    rows = [each for each in board.rows if each.method == row.method and not each.details]
    return rows[0] if len(rows) == 1 else None
