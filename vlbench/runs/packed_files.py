"""The bytes of packed files: tables and curves as vlbench wrote them, from their rows."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlbench.parquet import LATER, encode

CURVE_CELLS = ("step", "epoch", "task", "loss", "learning_rate")


def sha256(content: bytes) -> str:
    """The sha256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def result_files(table: pa.Table) -> Iterator[bytes]:
    """The ways in which vlbench wrote these rows of a result so far, without columns of later."""
    later = [name for name in LATER if name in table.column_names]
    empty = [name for name in later if table[name].null_count == table.num_rows]
    older = (later[n:] for n in range(len(later), -1, -1))
    for absent in dict.fromkeys(map(tuple, (empty, *older))):
        rows = table.drop_columns(list(absent))
        yield encode(rows)
        content = io.BytesIO()
        pq.write_table(rows, content)  # before files were compressed further
        yield content.getvalue()


def prediction_files(table: pa.Table) -> Iterator[bytes]:
    """The ways in which vlbench wrote these predictions so far; today's first."""
    place = table.schema.get_field_index("images")
    for item in ("item", "element"):
        kind = pa.list_(pa.field(item, pa.string()))
        yield encode(table.set_column(place, "images", table["images"].cast(kind)))


def read_curve(text: str) -> list[dict[str, Any]]:
    """The rows of a training curve, without its key."""
    rows: list[dict[str, Any]] = []
    for line in map(json.loads, text.splitlines()):
        for metric, value in line.pop("validation", {None: None}).items():
            rows.append({**line, "metric": metric, "value": value})
    return rows


def write_curve(rows: Sequence[dict[str, Any]]) -> bytes:
    """The text of a training curve; a validation is one line for its metrics."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        line = {name: row[name] for name in CURVE_CELLS if row[name] is not None}
        if row["metric"] is None and row["value"] is None:
            lines.append(line)
            continue
        if not lines or {**line, "validation": lines[-1].get("validation")} != lines[-1]:
            lines.append({**line, "validation": {}})
        lines[-1]["validation"][row["metric"]] = row["value"]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
