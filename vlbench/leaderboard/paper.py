"""Published rows (`results/paper/rows.json`): who printed what, and where it compares with ours.

A difference is formed where the protocols match: the full edition, all of it (no `--limit`), the
same backbone and suite, the card as it is from scratch, and for each task the metric and the test
split that the papers report, with as many examples as the official files hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from vlbench.leaderboard.board import Board

PACKAGE = Path(__file__).resolve().parents[1]
TRUST = ("VL-Adapter", "VL-PET")
"""Beginnings of a row's paper in the order they are believed; any other paper comes after these."""
BACKBONE = "clip-bart"  # whose rows are shown beside a backbone that no paper has
TEST_SPLITS = {"vqav2": ("test",), "gqa": ("testdev",), "nlvr2": ("test1",), "coco": ("test",)}
"""The splits the papers tested on, as our readers call them: `test` is Karpathy's, `test1` test-P.
The video tasks are not here: papers have VALUE's hidden labels, vlbench scores validation."""


class Printed(NamedTuple):
    """A printed number: the mean over the row's seeds, and the deviation where one is printed."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class PaperRow:
    """A row of a published table."""

    suite: str
    backbone: str
    method: str | None  # vlbench's name; None where no method of vlbench is meant, see note
    method_in_source: str
    trainable_percent: float | None  # as printed
    metrics: Mapping[str, Printed]  # task.metric in percent (CIDEr x 100), and the average
    seeds: int
    run_by: str  # who trained it: a paper may quote or repeat another's rows
    paper: str
    table: str
    kind: Literal["main", "analysis"]  # analysis: a row of an ablation
    strength: str  # how the numbers were read, and so how far they can be trusted
    note: str = ""


class PaperPart(NamedTuple):
    """The published rows to show with a board."""

    rows: Sequence[tuple[PaperRow, Mapping[str, float]]]  # with measured - published by metric
    otherwise: Sequence[str]  # what of the data or backbone differs: then nothing is compared


Papers = Sequence[PaperPart]


def paper_file() -> Path:
    """Path of the published rows: in the checkout, else the copy that the wheel carries."""
    file = PACKAGE.parent / "results" / "paper" / "rows.json"
    is_checkout = (PACKAGE.parent / "pyproject.toml").is_file() and file.is_file()
    return file if is_checkout else PACKAGE / "_cards" / "paper" / "rows.json"


def paper_rows() -> list[PaperRow]:
    """Read every published row, in the file's order."""
    return [
        PaperRow(**row | {"metrics": {name: Printed(**p) for name, p in row["metrics"].items()}})
        for row in json.loads(paper_file().read_text(encoding="utf-8"))["rows"]
    ]


def published_percent(method: str, backbone: str, suite: str) -> float | None:
    """Return the percentage of trainable parameters that the most believed paper prints, if any."""
    key = (method, backbone, suite)
    rows = [row for row in paper_rows() if (row.method, row.backbone, row.suite) == key]
    printed = [row for row in rows if row.trainable_percent is not None]
    return min(printed, key=trust).trainable_percent if printed else None


def trust(row: PaperRow) -> tuple[int, bool]:
    """Sort key of published rows, the most believed first: by paper, main tables first."""
    paper = row.paper.split(" (")[0]
    return TRUST.index(paper) if paper in TRUST else len(TRUST), row.kind == "analysis"


def paper_parts(
    boards: Sequence[Board],
    methods: Collection[str] | None = None,
    max_trainable: float | None = None,
) -> list[PaperPart]:
    """Find the published rows to show with each board; `methods` None is all."""
    most = math.inf if max_trainable is None else max_trainable
    rows = [
        row
        for row in paper_rows()
        if (methods is None or row.method in methods)
        and (row.trainable_percent or math.inf) <= most
    ]
    return [_part(board, rows) for board in boards]


def _part(board: Board, rows: Sequence[PaperRow]) -> PaperPart:
    """The published rows of the board's suite in its order, the most believed paper first."""
    suite = [row for row in rows if row.suite == board.suite and row.method is not None]
    own = [row for row in suite if row.backbone == board.backbone]
    otherwise = ["other data"] if board.edition != "full" or board.scope != "complete" else []
    otherwise += [] if own else ["another backbone"]
    tasks = {} if otherwise else _comparable_tasks(board)
    ranks = {row.method: rank for rank, row in reversed([*enumerate(board.rows)])}
    once: dict[object, PaperRow] = {}  # a paper may print its method again, in an ablation
    for row in own or [row for row in suite if row.backbone == BACKBONE]:
        key = row.paper, row.method, repr(sorted(row.metrics.items()))
        once[key] = min(once.get(key, row), row, key=trust)
    chosen = sorted(
        once.values(),
        key=lambda row: (ranks.get(row.method or "", len(ranks)), row.method, trust(row)),
    )
    return PaperPart([(row, _differences(board, row, tasks)) for row in chosen], otherwise)


def _comparable_tasks(board: Board) -> dict[str, str]:
    """Main metric by task, of the tasks measured on the papers' split, and on all of it."""
    from vlbench.cards.load import load_task

    comparable = {}
    for task in TEST_SPLITS.keys() & board.mains.keys() & board.grounds.keys():
        card = load_task(task)
        splits = card.splits["full"].test if "full" in card.splits else ()
        official = sum(card.sizes.get(split, 0) for split in splits)
        if splits == TEST_SPLITS[task] and board.grounds[task].n_examples == official:
            comparable[task] = board.mains[task]
    return comparable


def _differences(board: Board, row: PaperRow, tasks: Mapping[str, str]) -> dict[str, float]:
    """Differences of the method's card as it is; none where the board has several versions."""
    measured = [other for other in board.rows if (other.method, other.details) == (row.method, "")]
    if len(measured) != 1:
        return {}
    names = [*tasks.values(), *(["average"] if tasks.keys() == board.mains.keys() else [])]
    return {
        name: mean - row.metrics[name].mean
        for name in names
        if name in row.metrics and (mean := measured[0].stat(name).mean) is not None
    }
