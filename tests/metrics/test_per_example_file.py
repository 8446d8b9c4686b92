from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from vlbench.errors import UsageError
from vlbench.metrics.per_example_file import check_place, write_scores

SCORES = {"cider": {"07": 12.5, "8": 0.1 + 0.2}, "bleu_1": {"8": 1.0, "07": 0.0}}
ROWS = [
    {"id": "07", "cider": 12.5, "bleu_1": 0.0},
    {"id": "8", "cider": 0.30000000000000004, "bleu_1": 1.0},
]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_lines_hold_an_example_each(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"scores{suffix}"
    write_scores(path, SCORES)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


def test_parquet_holds_a_row_per_example(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", SCORES)
    assert parquet.read_table(tmp_path / "scores.parquet").to_pylist() == ROWS


def test_a_name_that_tells_no_format_is_refused() -> None:
    with pytest.raises(UsageError, match=r"scores\.csv: cannot tell the format\. JSON Lines"):
        check_place(Path("scores.csv"), [])


def test_a_file_that_is_read_is_never_overwritten(tmp_path: Path) -> None:
    read = tmp_path / "results.json"
    with pytest.raises(UsageError, match="would be overwritten"):
        check_place(tmp_path / "." / "results.json", [None, read])
    check_place(tmp_path / "scores.json", [None, read])


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--per-example .*Cannot be written: .*file is a file"):
        write_scores(tmp_path / "file" / "scores.json", SCORES)
