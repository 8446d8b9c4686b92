"""Write the scores of single examples: one row each, its id and its score by every metric."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlbench.errors import MissingError, UsageError
from vlbench.files import write_atomically

SUFFIXES = (".jsonl", ".json", ".parquet")


def check_place(path: Path, read: Iterable[Path | None]) -> None:
    """Raise a UsageError for a name that does not tell the format, or one that is to be read."""
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"{path}: cannot tell the format. JSON Lines: .jsonl or .json; Parquet: .parquet."
        )
    if any(each is not None and each.resolve() == path.resolve() for each in read):
        raise UsageError(f"{path}: would be overwritten; --per-example needs a file of its own.")


def write_scores(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write `scores` (metric -> id -> score) as rows of `id` and one column per metric."""
    ids = next(iter(scores.values()))
    columns = {"id": list(ids)} | {
        name: [values[each] for each in ids] for name, values in scores.items()
    }
    try:
        if path.suffix == ".parquet":
            _write_parquet(path, columns)
        else:
            rows = (
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            )
            write_atomically(path, "".join(f"{json.dumps(row)}\n" for row in rows))
    except OSError as error:
        raise MissingError(f"{path}: cannot be written: {error.strerror or error}.") from None


def _write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(columns)
    write_atomically(path, lambda place: parquet.write_table(table, place))
