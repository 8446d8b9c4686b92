"""A run that is done, and ways to change what it stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlbench.runs.sums import NAME, RESULT, write_sums
from vlbench.verify.findings import Fault
from vlbench.verify.verify import Verified

Rows = list[dict[str, Any]]
Place = tuple[str, str, str]
"""File, row and column."""
Change = Callable[[Path], object]
NLVR2 = "predictions/nlvr2.parquet"
VQA = "predictions/vqav2.parquet"
FIRST = "vqav2.accuracy"
"""The first row of the result."""
FIRST_PAIR = "test1-0-0-0"
"""The first example of NLVR2."""


def places(verified: Verified) -> set[Place]:
    """Where cells do not hold."""
    return {(fault.file, fault.row, fault.column) for fault in verified.findings.faults}


def fault_at(verified: Verified, *place: str) -> Fault:
    """The one fault there."""
    (found,) = [f for f in verified.findings.faults if (f.file, f.row, f.column) == place]
    return found


def edit(file: Path, change: Callable[[Rows], object]) -> None:
    """Change the rows of a Parquet file."""
    table = pq.read_table(file)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


def edit_spec(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a run's spec, but for its key."""
    table = json.loads((run / "spec.json").read_text())
    change(table)
    (run / "spec.json").write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n")


def edit_curve(run: Path, change: Callable[[Rows], object]) -> None:
    """Change the lines of a training curve."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    change(lines)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def reseal(run: Path) -> None:
    """Make the sums fit whatever is there."""
    (run / NAME).unlink(missing_ok=True)
    write_sums(run)


def in_result(column: str, value: Any, row: int | None = 0) -> Change:
    """Put something into a column, of one row or of all."""

    def change(rows: Rows) -> None:
        for each in rows if row is None else [rows[row]]:
            each[column] = value(each[column]) if callable(value) else value

    return lambda run: edit(run / RESULT, change)


def in_answers(file: str, column: str, value: Any) -> Change:
    """Put something into the first row of a file of predictions."""

    def change(rows: Rows) -> None:
        rows[0][column] = value(rows[0][column]) if callable(value) else value

    return lambda run: edit(run / file, change)


def rows_of(file: str, change: Callable[[Rows], object]) -> Change:
    return lambda run: edit(run / file, change)


def spec_with(*keys: str, value: Any) -> Change:
    """Put something into the spec."""

    def change(table: dict[str, Any]) -> None:
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value

    return lambda run: edit_spec(run, change)


def curve_with(change: Callable[[Rows], object]) -> Change:
    return lambda run: edit_curve(run, change)


def put(rows: Rows, row: int, column: str, value: Any) -> None:
    rows[row][column] = value


def other_answer(answer: str) -> str:
    return {"true": "false"}.get(answer, "true")


def answer_otherwise(row: dict[str, Any]) -> None:
    """Another answer to a pair of pictures, with the score that it has."""
    row.update(prediction=other_answer(row["prediction"]), score=1 - row["score"])
