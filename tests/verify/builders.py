"""Ways to change what a run that is done has stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlbench.runs.sums import NAME, RESULT, write_sums
from vlbench.verify.inputs import Fault
from vlbench.verify.verify import Verified

Rows = list[dict[str, Any]]
Cell = tuple[str, str, str]
"""File, row and column."""
Change = Callable[[Path], object]
NLVR2 = "predictions/nlvr2.parquet"
VQA = "predictions/vqav2.parquet"
FIRST = "vqav2.accuracy"
"""The first row of the result."""
FIRST_PAIR = "test1-0-0-0"
"""The first example of NLVR2."""


def faulty(verified: Verified) -> set[Cell]:
    """The cells that do not hold."""
    return {(fault.file, fault.row, fault.column) for fault in verified.findings.faults}


def fault_at(verified: Verified, *cell: str) -> Fault:
    """The one fault of a cell."""
    (fault,) = [f for f in verified.findings.faults if (f.file, f.row, f.column) == cell]
    return fault


def reseal(run: Path) -> None:
    """Make the sums fit whatever is there."""
    (run / NAME).unlink(missing_ok=True)
    write_sums(run)


def edit(file: Path, change: Callable[[Rows], object]) -> None:
    """Change the rows of a Parquet file."""
    table = pq.read_table(file)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


def rows_of(file: str, change: Callable[[Rows], object]) -> Change:
    return lambda run: edit(run / file, change)


def column_with(file: str, column: str, value: Any, row: int | None = 0) -> Change:
    """Put something into a column, of one row or of all."""

    def change(rows: Rows) -> None:
        for each in rows if row is None else [rows[row]]:
            each[column] = value(each[column]) if callable(value) else value

    return rows_of(file, change)


def in_result(column: str, value: Any, row: int | None = 0) -> Change:
    return column_with(RESULT, column, value, row)


def spec_with(*keys: str | int, value: Any) -> Change:
    """Put something into the spec, but not its key."""

    def change(run: Path) -> None:
        table = inner = json.loads((run / "spec.json").read_text())
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (run / "spec.json").write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n")

    return change


def curve_with(change: Callable[[Rows], object]) -> Change:
    """Change the lines of the training curve."""

    def edit(run: Path) -> None:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        change(lines)
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return edit


def written(name: str, content: bytes) -> Change:
    return lambda run: (run / name).write_bytes(content)


def cut(name: str, end: int = 99) -> Change:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:end])


def gone(name: str) -> Change:
    return lambda run: (run / name).unlink()


def other_answer(answer: str) -> str:
    return {"true": "false"}.get(answer, "true")
