"""What is marked as the best, and what as at or below a floor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.leaderboard.boards import three_methods, tied
from vlbench.leaderboard.marks import has_best, is_below_floor, is_best


def test_the_best_group_is_marked_but_for_the_floors_in_it(tmp_path: Path) -> None:
    for group in (1, 2):
        groups = {"full": {"average": group}, "frozen": {"average": 1}}
        board = tied(three_methods(tmp_path), groups)
        best = {row.method: is_best(row, "average", board) for row in board.rows}
        assert best == {"full": group == 1, "shared-adapter": False, "frozen": False}


def test_nobody_is_the_best_of_one_or_where_nothing_was_tested(tmp_path: Path) -> None:
    board = three_methods(tmp_path)
    assert not has_best(board)
    assert not has_best(tied(board, {"full": {"average": 1}}))
    assert has_best(tied(board, {"full": {"average": 1}, "frozen": {"average": 1}}))


def test_a_row_is_below_the_floor_by_its_average_or_without_one_by_any_metric(
    tmp_path: Path,
) -> None:
    full, shared, frozen = three_methods(tmp_path).rows
    assert shared.average.n == 0
    assert is_below_floor(shared)
    assert not is_below_floor(full)
    below = frozenset({"gqa.accuracy"})
    assert not is_below_floor(replace(frozen, below_floor=below))
    assert is_below_floor(replace(frozen, below_floor=below | {"average"}))
