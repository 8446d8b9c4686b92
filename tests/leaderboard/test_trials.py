"""The number of trials behind each row: counted from what the folder holds, the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.leaderboard.builders import image_text, write
from vlbench.leaderboard import formats
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.load import Filters, read_boards
from vlbench.leaderboard.tables import FEWER_NOTE, TRIALS_NOTE, main_table, report_tables
from vlbench.parquet import encode
from vlbench.runs.packing import pack


def trials(method: str, count: int, **others: Any) -> list[list[dict[str, Any]]]:
    """Trials of a method at so many rates."""
    runs = []
    for n in range(1, count + 1):
        cells = {"key": f"{method}-trial-{n}", "settings": f"train.learning_rate={n}e-3"}
        cells |= {"scope": "search", "split": "val", "seed": 1000} | others
        runs.append(image_text(method, 9, 9, 9, 9, **cells))
    return runs


def boards(folder: Path, **filters: Any) -> list[Board]:
    return read_boards(folder, Filters(**filters))


def searched(folder: Path) -> Path:
    """`full` and `lora` with a search, `compacter` with less of one, `frozen` with none."""
    runs = [image_text(m, 60, 50, 50, 90) for m in ("full", "lora", "compacter", "frozen")]
    runs += [image_text("zero-shot", 1, 1, 1, 1, epochs=0)]
    for method, count in (("full", 8), ("lora", 7), ("compacter", 6)):
        runs += trials(method, count)
    return write(folder, *runs)


def test_each_row_says_how_many_trials_it_had_and_who_had_fewer(tmp_path: Path) -> None:
    [board] = boards(searched(tmp_path))
    counts = {row.method: row.n_trials for row in board.rows}
    assert counts == {"full": 8, "lora": 7, "compacter": 6, "frozen": 0, "zero-shot": None}
    fewer = [row.method for row in board.rows if row.has_fewer_trials]
    assert sorted(fewer) == ["compacter", "frozen"]  # one more, outwards, is part of a search
    table = main_table(board)
    assert [column.name for column in table.columns[-2:]] == ["trials", "seeds"]
    assert TRIALS_NOTE in table.notes and FEWER_NOTE in table.notes
    tables = report_tables([board])
    assert " 6°" in formats.as_text(tables) and "6° |" in formats.as_markdown(tables)
    assert r"6 $^\circ$ & 1" in formats.as_latex(tables)
    items = {item["method"]: item for item in json.loads(formats.as_json([board]))["items"]}
    assert (items["compacter"]["n_trials"], items["compacter"]["has_fewer_trials"]) == (6, True)
    assert "has_fewer_trials" in formats.as_csv([board]).splitlines()[0]


def test_filters_change_no_count(tmp_path: Path) -> None:
    searched(tmp_path)
    for filters in ({"seeds": (0,)}, {"tasks": ["gqa"]}, {"methods": ["compacter"]}):
        [board] = boards(tmp_path, **filters)
        [row] = [row for row in board.rows if row.method == "compacter"]
        assert row.n_trials == 6 and row.has_fewer_trials


def test_trials_of_other_data_settings_or_weights_and_begun_ones_do_not_count(
    tmp_path: Path,
) -> None:
    searched(tmp_path)
    others = {"limit": 8, "backbone_hash": "dead" * 16, "data_fingerprint": "other"}
    for name, value in others.items():
        write(tmp_path, *trials("lora", 1, key=f"other-{name}", **{name: value}))
    write(tmp_path, *trials("lora", 1, key="failed", status="failed"))
    write(tmp_path, *trials("lora", 1, key="cancelled", status="cancelled"))
    [board] = boards(tmp_path)
    assert {row.method: row.n_trials for row in board.rows}["lora"] == 8


def test_packs_keep_trials(tmp_path: Path) -> None:
    [before] = boards(searched(tmp_path))
    for file in tmp_path.glob("runs/*/result.parquet"):
        file.write_bytes(encode(pq.read_table(file)))
    assert not pack(tmp_path).left
    assert boards(tmp_path) == [before]


def test_without_any_trial_there_is_no_such_column(tmp_path: Path) -> None:
    [board] = boards(write(tmp_path, image_text("full", 60, 50, 50, 90)))
    table = main_table(board)
    assert "trials" not in [column.name for column in table.columns]
    assert TRIALS_NOTE not in table.notes and board.rows[0].n_trials is None
