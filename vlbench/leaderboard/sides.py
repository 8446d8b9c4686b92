"""The two sides of a comparison, found in one folder of results or in two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.leaderboard.boards import Filters, read_boards
from vlbench.leaderboard.compare import compare
from vlbench.leaderboard.compared import Pair, Side
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.row_names import RowName, find_in, typed
from vlbench.leaderboard.sheets import title
from vlbench.leaderboard.summary import Board


def both_sides(
    a: str,
    b: str | None,
    results: Path,
    baseline: Path | None,
    filters: Filters,
    damaged: list[DataError] | None = None,
) -> list[Pair]:
    """The comparisons of row `a` of `results` with row `b` of `baseline`, or of `results` too.

    Without `b`, or with the same name, B is the row of the baseline with A's method, settings and
    starting weights. `damaged` is as in `read_results`.
    """
    ours = _Folder(results, filters, damaged)
    a_sides = ours.sides([RowName.parse(a)])
    theirs = ours if baseline is None else _Folder(baseline, filters, damaged)
    if b is None or b == a:
        names = list(dict.fromkeys(RowName.of(side.row) for side in a_sides))
        b_sides = theirs.sides(names)
    else:
        b_sides = theirs.sides([RowName.parse(b)])
    _refuse_itself(a_sides, b_sides)
    return compare(a_sides, b_sides)


class _Folder:
    """The boards of a folder of results."""

    def __init__(self, folder: Path, filters: Filters, damaged: list[DataError] | None) -> None:
        self.boards = read_boards(folder, filters, damaged=damaged)
        self.examples = Examples(folder, damaged)

    def sides(self, names: Sequence[RowName]) -> list[Side]:
        """The rows of these names in each board that has one; an error where none has."""
        found = [
            Side(board, row, self.examples)
            for name in names
            for board, row in find_in(name, self.boards)
        ]
        if not found:
            raise NothingToReport(_nothing(names, self.examples.folder, self.boards))
        return found


def _nothing(names: Sequence[RowName], folder: Path, boards: Sequence[Board]) -> str:
    """What was looked for, and which rows there are."""
    lines = [f"{folder}: No results of {', '.join(name.text for name in names)}. There is:"]
    for board in boards:
        lines.append(f"  {title(board)}: {', '.join(quote(typed(row)) for row in board.rows)}")
    return "\n".join(lines)


def _refuse_itself(a_sides: Sequence[Side], b_sides: Sequence[Side]) -> None:
    """The same files on both sides would always be equal, and a gate on them always open."""

    def files(sides: Sequence[Side]) -> set[tuple[Path, str]]:
        return {
            (side.examples.folder.resolve(), key)
            for side in sides
            for key in side.row.runs.values()
        }

    if files(a_sides) & files(b_sides):
        label = a_sides[0].row.label
        raise UsageError(
            f"A and B are the same runs of {label}. Name another row, or with --baseline another "
            "folder of results."
        )
