"""Reading results: the table of everything is the union of the runs' part files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from vlbench.columns import COLUMNS, IDENTIFYING, LATER, MOST_ROWS, result_schema
from vlbench.errors import DataError, NothingToReport
from vlbench.leaderboard import index
from vlbench.leaderboard.index import Look, Part
from vlbench.leaderboard.parquet import read_parquet
from vlbench.leaderboard.unfinished import unfinished_rows
from vlbench.running.folder import run_folders
from vlbench.running.sums import RESULT
from vlbench.text import results_option

FILES = f"runs/*/{RESULT}"
LEAST = 50
"""Runs from which on an index is kept: fewer are read as fast without."""


def read_results(folder: Path, damaged: list[DataError] | None = None) -> pd.DataFrame:
    """Every row of every run: one per task, split, metric and family.

    Runs that were begun and have no result have a row per task without a value; the status says
    why. Results that cannot be read are an error; where `damaged` is given they are added to it and
    count among those without a result, unless none can be read.
    """
    unreadable: list[DataError] = []
    folders = run_folders(folder, unreadable)
    files = [run / RESULT for run in folders if os.path.lexists(run / RESULT)]
    parts, faults = _parts(folder, files)
    unreadable += faults.values()
    if unreadable and (damaged is None or not parts):
        raise unreadable[0]
    if not parts:
        raise NothingToReport(_nothing(folder, len(folders)))
    _refuse_copies(parts)
    begun = sorted(set(folders) - {file.parent for file in files})
    others = unfinished_rows(begun, [file.parent for file in faults], unreadable)
    if damaged is not None:
        damaged += unreadable
    tables = [*parts.values(), pa.Table.from_pylist(others, schema=result_schema())]
    table: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return table


def left_out(damaged: Sequence[DataError]) -> DataError:
    """The error that a command ends with when it has shown the rest."""
    return DataError("\n".join(f"Left out: {each}" for each in damaged))


def _parts(
    folder: Path, files: Sequence[Path]
) -> tuple[dict[Path, pa.Table], dict[Path, DataError]]:
    """The rows of each file, from the index where it knows the file as it is; what is wrong."""
    is_indexed = len(files) >= LEAST
    known = index.load(folder) if is_indexed else {}
    parts: dict[Path, Part] = {}
    faults: dict[Path, DataError] = {}
    for file in files:
        try:
            look = Look.at(file)
            part = known.get(file.parent.name)
            parts[file] = part if part and look.shows(part) else look.part(_read(file))
        except FileNotFoundError:
            if os.path.lexists(file):
                faults[file] = DataError(f"{file}: A link that leads nowhere.")
                continue
            raise DataError(f"{file}: It has gone while results were read. Try again.") from None
        except DataError as fault:
            faults[file] = fault
    named = [(file.parent.name, part) for file, part in parts.items()]
    is_new = any(known.get(name) is not part for name, part in named) or len(known) > len(parts)
    if is_indexed and is_new:
        index.store(folder, named)
    return {file: part.rows for file, part in parts.items()}, faults


def _read(file: Path) -> pa.Table:
    """One part file in the schema's columns and order; columns of a newer vlbench are left out."""
    table = read_parquet(file, most_rows=MOST_ROWS)
    for name, value in LATER.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([value] * table.num_rows))
    _check(file, table)
    return table.select([column.name for column in COLUMNS]).cast(result_schema())


def _check(file: Path, table: pa.Table) -> None:
    """All faults of a part file at once: missing columns, other types, nulls where none may be."""
    faults = []
    for field in result_schema():
        if (count := table.column_names.count(field.name)) != 1:
            faults.append(f"column '{field.name}' is {'there twice' if count else 'missing'}")
        elif table.schema.field(field.name).type != field.type:
            found = table.schema.field(field.name).type
            faults.append(f"column '{field.name}' is {found}, expected {field.type}")
        elif field.name in IDENTIFYING and table.column(field.name).null_count:
            faults.append(f"column '{field.name}' has empty cells")
    if not faults and not table.num_rows:
        faults.append("no rows")
    if faults:
        raise DataError(f"{file}: Not a vlbench result: {'; '.join(faults)}.")


def _refuse_copies(parts: Mapping[Path, pa.Table]) -> None:
    """A copied run folder would count its seed twice."""
    seen: dict[str, Path] = {}
    for file, table in parts.items():
        for key in table.column("key").unique().to_pylist():
            if key in seen:
                raise DataError(f"{file}: Run {key} is in {seen[key]} too. Remove one of the two.")
            seen[key] = file


def _nothing(folder: Path, count: int) -> str:
    """Where was looked, what is there, and the command that makes results."""
    if not folder.is_dir():
        there = f"{folder}: No such folder, so there are no results to report."
    elif count:
        runs = "1 run" if count == 1 else f"{count} runs"
        there = f"{folder}: No results to report yet: {runs} there without a result ({FILES})."
    else:
        there = f"{folder}: No results to report here (looked for {FILES})."
    command = f"vlbench run --method compacter --tasks image-text{results_option(folder)}"
    return f"{there}\nMake some: {command}"
