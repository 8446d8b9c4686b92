"""Reading results: the table of everything is the union of the runs' part files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from vlbench.columns import COLUMNS, IDENTIFYING, LATER, result_schema
from vlbench.errors import DataError, NothingToReport
from vlbench.leaderboard import index
from vlbench.leaderboard.index import Look, Part
from vlbench.leaderboard.parquet import read_parquet

FILES = "runs/*/result.parquet"
LEAST = 50
"""Runs from which on an index is kept: fewer are read as fast without."""


def read_results(folder: Path) -> pd.DataFrame:
    """Every row of every finished run: one per task, split, metric and family."""
    files = sorted(folder.glob(FILES))
    if not files:
        raise NothingToReport(_nothing(folder))
    parts = _parts(folder, files)
    _refuse_copies(zip(files, parts, strict=True))
    table: pd.DataFrame = pa.concat_tables(parts).to_pandas()
    return table


def _parts(folder: Path, files: Sequence[Path]) -> list[pa.Table]:
    """The rows of each file, from the index where it knows the file as it is."""
    if len(files) < LEAST:
        return [_read(file) for file in files]
    known = index.load(folder)
    parts: list[tuple[str, Part]] = []
    for file in files:
        try:
            look = Look.at(file)
        except FileNotFoundError:
            raise DataError(f"{file}: It has gone while results were read. Try again.") from None
        part = known.get(file.parent.name)
        if part is None or not look.shows(part):
            part = look.part(_read(file))
        parts.append((file.parent.name, part))
    if any(known.get(name) is not part for name, part in parts) or len(known) > len(parts):
        index.store(folder, parts)
    return [part.rows for _, part in parts]


def _run_folders(folder: Path) -> list[Path]:
    return [run for run in folder.glob("runs/*") if run.is_dir() and not run.name.startswith(".")]


def _read(file: Path) -> pa.Table:
    """One part file in the schema's columns and order; columns of a newer vlbench are left out."""
    table = read_parquet(file)
    for name, value in LATER.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([value] * table.num_rows))
    _check(file, table)
    return table.select([column.name for column in COLUMNS]).cast(result_schema())


def _check(file: Path, table: pa.Table) -> None:
    """All faults of a part file at once: missing columns, other types, nulls where none may be."""
    faults = []
    for field in result_schema():
        if field.name not in table.column_names:
            faults.append(f"column '{field.name}' is missing")
        elif table.schema.field(field.name).type != field.type:
            found = table.schema.field(field.name).type
            faults.append(f"column '{field.name}' is {found}, expected {field.type}")
        elif field.name in IDENTIFYING and table.column(field.name).null_count:
            faults.append(f"column '{field.name}' has empty cells")
    if not faults and not table.num_rows:
        faults.append("no rows")
    if faults:
        raise DataError(f"{file}: Not a vlbench result: {'; '.join(faults)}.")


def _refuse_copies(parts: Iterable[tuple[Path, pa.Table]]) -> None:
    """A copied run folder would count its seed twice."""
    seen: dict[str, Path] = {}
    for file, table in parts:
        for key in table.column("key").unique().to_pylist():
            if key in seen:
                raise DataError(f"{file}: Run {key} is in {seen[key]} too. Remove one of the two.")
            seen[key] = file


def _nothing(folder: Path) -> str:
    """Where was looked, what is there, and the command that makes results."""
    if not folder.is_dir():
        there = f"{folder}: No such folder, so there are no results to report."
    elif count := len(_run_folders(folder)):
        runs = "1 run" if count == 1 else f"{count} runs"
        there = f"{folder}: No results to report yet: {runs} there without a result ({FILES})."
    else:
        there = f"{folder}: No results to report here (looked for {FILES})."
    option = "" if folder == Path("results") else f" --results {folder}"
    return f"{there}\nMake some: vlbench run --method compacter --tasks image-text{option}"
