"""Write the scores of single examples: one row each, its id and its score by every metric."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlbench.errors import UsageError
from vlbench.files import check_out, write_out

SUFFIXES = (".jsonl", ".json", ".parquet")
OPTION = "--per-example"


def check_place(path: Path, read: Iterable[Path | None]) -> None:
    """Refuse a name that tells no format, one that is to be read, and a place for no file."""
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"{path}: cannot tell the format. JSON Lines: .jsonl or .json; Parquet: .parquet."
        )
    if any(each is not None and each.resolve() == path.resolve() for each in read):
        raise UsageError(f"{path}: would be overwritten; --per-example needs a file of its own.")
    check_out(path, OPTION)


def write_scores(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write `scores` (metric -> id -> score) as rows of `id` and one column per metric."""
    ids = next(iter(scores.values()))
    columns = {"id": list(ids)} | {
        name: [values[each] for each in ids] for name, values in scores.items()
    }
    if path.suffix == ".parquet":
        _write_parquet(path, columns)
    else:
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        write_out(path, "".join(f"{json.dumps(row)}\n" for row in rows), OPTION)


def _write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(columns)
    write_out(path, lambda place: parquet.write_table(table, place), OPTION)
