"""Reading what runs have stored as what may come from anywhere: known columns of known types only.

Nothing is unpickled: Parquet holds plain values, Arrow's extension types are of no known type, and
the notes of pandas in a file are not looked at.
"""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlbench import parquet
from vlbench.columns import LATER, MOST_ROWS, result_schema
from vlbench.errors import DataError
from vlbench.files import text_lines

ANSWERS = pa.schema(
    [
        ("id", pa.string()),
        ("family", pa.string()),
        ("images", pa.list_(pa.string())),
        ("text", pa.string()),
        ("prediction", pa.string()),
        ("references", pa.string()),
        ("score", pa.float64()),
    ]
)
"""The columns of `predictions/<task>.parquet`."""
Row = dict[str, Any]


def read_rows(file: Path) -> tuple[list[Row], list[str]]:
    """The rows of a `result.parquet`, and the columns in it that this vlbench does not know."""
    return _read(file, result_schema(), LATER, MOST_ROWS)


def read_answers(file: Path) -> list[Row]:
    """The rows of a file of predictions; none has an empty cell."""
    rows, _ = _read(file, ANSWERS, {}, parquet.MOST_ROWS)
    for row in rows:
        if None in row.values():
            empty = next(name for name, value in row.items() if value is None)
            raise DataError(f"column '{empty}' has empty cells")
        if not isfinite(row["score"]):
            raise DataError(f"the score of {row['id']} is {row['score']}, which is no number")
    return rows


def parse_json(text: str | bytes) -> Any:
    """What JSON says; a ValueError where it spells what is no text, a lone surrogate."""
    found = json.loads(text)
    json.dumps(found, ensure_ascii=False).encode()
    return found


def read_lines(file: Path) -> list[Row]:
    """The objects of a JSON Lines file."""
    lines = []
    try:
        texts = text_lines(file)
    except OSError as error:
        raise DataError(f"cannot be read: {error}") from None
    for number, text in enumerate(texts, 1):
        try:
            line = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"line {number}: not JSON: {error}") from None
        if not isinstance(line, dict):
            raise DataError(f"line {number}: not an object")
        lines.append(line)
    return lines


def _read(
    file: Path, schema: pa.Schema, later: dict[str, Any], most_rows: int
) -> tuple[list[Row], list[str]]:
    try:
        opened = parquet.open_parquet(file)
        found = opened.schema_arrow
        _check(found, schema, later)
        known = [name for name in schema.names if name in found.names]
        rows = parquet.decode(file, opened, known, most_rows).to_pylist()
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError, pa.ArrowException) as error:  # Arrow's errors are of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"not a readable Parquet file: {reason}") from None
    absent = {name: value for name, value in later.items() if name not in found.names}
    return [{**absent, **row} for row in rows], sorted(set(found.names) - set(schema.names))


def _check(found: pa.Schema, schema: pa.Schema, later: dict[str, Any]) -> None:
    """Before anything is read: every column is there, once, and of its type."""
    faults = [
        f"column '{field.name}' is missing"
        for field in schema
        if field.name not in found.names and field.name not in later
    ]
    for field in schema:
        for index in found.get_all_field_indices(field.name)[:2]:
            if not found.field(index).type.equals(field.type):
                faults.append(
                    f"column '{field.name}' is {found.field(index).type}, expected {field.type}"
                )
        if len(found.get_all_field_indices(field.name)) > 1:
            faults.append(f"column '{field.name}' is there twice")
    if faults:
        raise DataError("; ".join(faults))
