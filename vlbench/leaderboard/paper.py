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

from vlbench.errors import MissingError

if TYPE_CHECKING:
    from vlbench.leaderboard.board import Board

PACKAGE = Path(__file__).resolve().parents[1]
TRUST = ("VL-Adapter", "VL-PET")
"""Beginnings of a row's paper in the order they are believed; any other paper comes after these.
VL-PET's table also holds LST's numbers on T5."""
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


class Published(NamedTuple):
    """A published row, and measured minus published by main metric and average, if comparable."""

    row: PaperRow
    differences: Mapping[str, float]


class PaperPart(NamedTuple):
    """The published rows to show with a board."""

    rows: Sequence[Published]
    otherwise: Sequence[str]  # what of the data or backbone differs; empty: one table may hold them
    incomparable: Sequence[str]  # tasks of another split, metric or number of examples


Papers = Sequence[PaperPart]


def paper_file() -> Path:
    """Path of the published rows: in the checkout, else the copy that the wheel carries."""
    checkout = PACKAGE.parent
    file = checkout / "results" / "paper" / "rows.json"
    if (checkout / "pyproject.toml").is_file() and file.is_file():
        return file
    return PACKAGE / "_cards" / "paper" / "rows.json"


def paper_rows() -> list[PaperRow]:
    """Read every published row, in the file's order."""
    file = paper_file()
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    except FileNotFoundError:
        raise MissingError(f"{file}: no such file; installing vlbench again mends it") from None
    return [
        PaperRow(**row | {"metrics": {name: Printed(**p) for name, p in row["metrics"].items()}})
        for row in rows
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
    rows = [row for row in paper_rows() if methods is None or row.method in methods]
    if max_trainable is not None:
        rows = [row for row in rows if (row.trainable_percent or math.inf) <= max_trainable]
    return [published_with(board, rows) for board in boards]


def published_with(board: Board, rows: Sequence[PaperRow]) -> PaperPart:
    """Find the published rows of the board's suite in its order, the most believed paper first."""
    suite = [row for row in rows if row.suite == board.suite and row.method is not None]
    own = [row for row in suite if row.backbone == board.backbone]
    otherwise = ["other data"] if board.edition != "full" or board.scope != "complete" else []
    otherwise += [] if own else ["another backbone"]
    tasks = {} if otherwise else _comparable_tasks(board)
    ranks = {row.method: rank for rank, row in reversed([*enumerate(board.rows)])}
    chosen = own or [row for row in suite if row.backbone == BACKBONE]
    chosen.sort(
        key=lambda row: (ranks.get(str(row.method), len(board.rows)), str(row.method), *trust(row))
    )
    once: dict[object, PaperRow] = {}  # a paper may print its method again, in an ablation
    for row in chosen:
        once.setdefault((row.paper, row.method, repr(sorted(row.metrics.items()))), row)
    return PaperPart(
        rows=[Published(row, _differences(board, row, tasks)) for row in once.values()],
        otherwise=otherwise,
        incomparable=[] if otherwise else [task for task in board.mains if task not in tasks],
    )


def _comparable_tasks(board: Board) -> dict[str, str]:
    """Main metric by task, of the tasks measured on the papers' split, and on all of it."""
    from vlbench.cards.load import load_task

    comparable = {}
    for task, metric in board.mains.items():
        if task in TEST_SPLITS and task in board.grounds:
            card = load_task(task)
            splits = card.splits["full"].test if "full" in card.splits else ()
            official = sum(card.sizes.get(split, 0) for split in splits)
            if splits == TEST_SPLITS[task] and board.grounds[task].n_examples == official:
                comparable[task] = metric
    return comparable


def _differences(board: Board, row: PaperRow, tasks: Mapping[str, str]) -> dict[str, float]:
    """Differences of the method's card as it is; none where the board has several versions."""
    measured = [other for other in board.rows if (other.method, other.details) == (row.method, "")]
    if len(measured) != 1:
        return {}
    names = [*tasks.values(), *(["average"] if list(tasks) == list(board.mains) else [])]
    return {
        name: mean - row.metrics[name].mean
        for name in names
        if name in row.metrics and (mean := measured[0].stat(name).mean) is not None
    }
