"""Naming a row as one types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text
from vlbench.errors import UsageError
from vlbench.leaderboard.row_names import RowName, find_in, typed
from vlbench.leaderboard.summary import Board

BLUE = "0123456789ab blue.safetensors"
FOUR = "params.reduction=4,train.epochs=3"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    values = (60, 50, 70, 100)
    [board] = boards_of(
        tmp_path,
        image_text("compacter", *values, key="aaaa1111bbbb2222"),
        image_text("compacter", *values, key="cccc3333dddd4444", seed=1),
        image_text("compacter", *values, settings=FOUR),
        image_text("compacter", *values, settings="params.reduction=2"),
        image_text("full", *values, init=BLUE),
        image_text("shared-adapter", *values),
        image_text("lora", *values, card_hash="01ff" * 16, key="old"),
        image_text("lora", *values, card_hash="02ff" * 16, key="new"),
    )
    return board


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("compacter", "compacter"),
        ("multiple-compacters", "compacter"),
        ("./cards/compacter.toml", "compacter"),
        ("compacter:train.epochs=3, params.reduction=4", f"compacter ({FOUR})"),
        ("compacter:train.epochs=3", f"compacter ({FOUR})"),
        ("full", "full (from blue.safetensors 01234567)"),
        ("full:from=0123", "full (from blue.safetensors 01234567)"),
        ("lora:card=02", "lora (card 02ff02ff)"),
        ("cccc33", "compacter"),
    ],
)
def test_a_row_is_named_by_as_much_as_is_needed(board: Board, text: str, expected: str) -> None:
    row = RowName.parse(text).find(board)
    assert row is not None
    assert row.label == expected


@pytest.mark.parametrize("text", ["compacter:train.epochs=4", "frozen", "full:from=123", "aaaa2"])
def test_what_is_not_there_is_not_found(board: Board, text: str) -> None:
    assert RowName.parse(text).find(board) is None


def test_a_name_of_several_rows_is_refused_with_what_to_type(board: Board) -> None:
    with pytest.raises(UsageError) as error:
        RowName.parse("lora").find(board)
    assert str(error.value) == (
        "'lora' names 2 rows; type one of:\n  lora:card=01ff01ff\n  lora:card=02ff02ff"
    )


def test_what_is_to_be_typed_names_the_row(board: Board) -> None:
    for row in board.rows:
        assert RowName.parse(typed(row)).find(board) is row


def test_a_rows_own_name_is_of_no_row_with_other_settings(board: Board) -> None:
    rows = {row.label: row for row in board.rows}
    assert RowName.of(rows["compacter"]).find(board) is rows["compacter"]
    four = rows[f"compacter ({FOUR})"]
    assert RowName.of(four).find(board) is four
    other = [row for row in board.rows if row is not four]
    assert RowName.of(four).find(Board(**{**vars(board), "rows": other})) is None


def test_a_name_that_is_nothing_at_all_is_refused_with_the_nearest(board: Board) -> None:
    with pytest.raises(UsageError, match=r"'fulll' names no row.*Did you mean 'full'"):
        find_in(RowName.parse("fulll"), [board])
    assert find_in(RowName.parse("frozen"), [board]) == []  # a method, but without results here
