"""A run that is done, and ways to change what it stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlbench.running.sums import NAME, write_sums
from vlbench.verifying.findings import Fault
from vlbench.verifying.verify import Verified

Rows = list[dict[str, Any]]
Place = tuple[str, str, str]
"""File, row and column."""


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
