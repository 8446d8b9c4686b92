"""Read results: one table of the rows in all runs' part files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vlbench import parquet
from vlbench.errors import DataError, NothingToReport
from vlbench.leaderboard import index
from vlbench.parquet import COLUMNS, IDENTIFYING, LATER, MOST_RESULT_ROWS, result_schema
from vlbench.runs.folder import RunFolder, run_folders
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import RESULT
from vlbench.text import results_option

FILES = f"runs/*/{RESULT}"
LEAST = 50
"""Number of runs from which on an index is kept: fewer are read as fast without."""
STATUS = {"began": "unfinished", "done": "result lost"}
"""Status of a run without a result by the last event on record; others are their own status."""
UNREADABLE = "result unreadable"


def read_results(folder: Path, damaged: list[DataError] | None = None) -> pd.DataFrame:
    """Read every row of every run: one per task, split, metric and family.

    Runs that were begun and have no result have a row per task without a value; the status says
    why. Results that cannot be read are an error; where `damaged` is given they are added to it and
    count among those without a result, unless none can be read.
    """
    faults: list[DataError] = []
    folders = run_folders(folder, faults)
    files = [run / RESULT for run in folders if os.path.lexists(run / RESULT)]
    parts, unreadable = _read_parts(folder, files)
    faults += unreadable.values()
    if faults and (damaged is None or not parts):
        raise faults[0]
    if not parts:
        raise NothingToReport(_nothing(folder, len(folders)))
    _refuse_copies(parts)
    statuses = {run: _status(run) for run in sorted(set(folders) - {file.parent for file in files})}
    statuses |= {file.parent: UNREADABLE for file in unreadable}
    others = [
        row for run, status in statuses.items() if status for row in _rows(run, status, faults)
    ]
    if damaged is not None:
        damaged += faults
    tables = [*parts.values(), pa.Table.from_pylist(others, schema=result_schema())]
    table: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return table


def read_parquet(
    file: Path, columns: Sequence[str] | None = None, most_rows: int = parquet.MOST_ROWS
) -> pa.Table:
    """Read a Parquet file that may be damaged; FileNotFoundError is left to the caller.

    DataError where it is damaged or too large, or holds NaN or infinity, which nothing can be
    compared with. Decoding in this thread takes a third of the time that Arrow's own reading takes
    for files of some kilobytes.
    """
    try:
        content = pa.py_buffer(file.read_bytes())
        table = parquet.decode(content, parquet.open_parquet(content), columns, most_rows)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pa.ArrowException, DataError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: Not a readable Parquet file: {reason}") from error
    if absent := set(columns or ()) - set(table.column_names):
        raise DataError(f"{file}: column '{min(absent)}' is missing")
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_floating(field.type) and pc.all(pc.is_finite(column)).as_py() is False:
            raise DataError(f"{file}: column '{field.name}' has cells that are no finite numbers")
    return table


def _read_parts(
    folder: Path, files: Sequence[Path]
) -> tuple[dict[Path, pa.Table], dict[Path, DataError]]:
    """Rows of each file, from the index where the file has not changed since; and the faults."""
    is_indexed = len(files) >= LEAST
    known = index.load(folder) if is_indexed else {}
    parts: dict[Path, index.Part] = {}
    faults: dict[Path, DataError] = {}
    for file in files:
        try:
            stamp = index.Stamp.of(file)
            part = known.get(file.parent.name)
            is_current = part is not None and part[:2] == stamp[:2]
            parts[file] = part if part and is_current else stamp.part(_read(file))
        except FileNotFoundError:
            if not os.path.lexists(file):
                text = f"{file}: It has gone while results were read. Try again."
                raise DataError(text) from None
            faults[file] = DataError(f"{file}: A link that leads nowhere.")
        except DataError as fault:
            faults[file] = fault
    named = [(file.parent.name, part) for file, part in parts.items()]
    is_new = any(known.get(name) is not part for name, part in named) or len(known) > len(parts)
    if is_indexed and is_new:
        index.store(folder, named)
    return {file: part.rows for file, part in parts.items()}, faults


def _read(file: Path) -> pa.Table:
    """Read a part file in the schema's columns and order, without those of a newer vlbench."""
    table = read_parquet(file, most_rows=MOST_RESULT_ROWS)
    for name, value in LATER.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([value] * table.num_rows))
    faults = []
    for field in result_schema():
        if (count := table.column_names.count(field.name)) != 1:
            faults.append(f"column '{field.name}' is {'there twice' if count else 'missing'}")
        elif (type := table.schema.field(field.name).type) != field.type:
            faults.append(f"column '{field.name}' is {type}, expected {field.type}")
        elif field.name in IDENTIFYING and table.column(field.name).null_count:
            faults.append(f"column '{field.name}' has empty cells")
    if not faults and not table.num_rows:
        faults.append("no rows")
    if faults:
        raise DataError(f"{file}: Not a vlbench result: {'; '.join(faults)}.")
    return table.select([column.name for column in COLUMNS]).cast(result_schema())


def _refuse_copies(parts: Mapping[Path, pa.Table]) -> None:
    """Refuse a copied run folder, which would count its seed twice."""
    seen: dict[str, Path] = {}
    for file, table in parts.items():
        for key in table.column("key").unique().to_pylist():
            if key in seen:
                raise DataError(f"{file}: Run {key} is in {seen[key]} too. Remove one of the two.")
            seen[key] = file


def _status(folder: Path) -> str:
    """How the last attempt at a run without a result ended; empty where none began."""
    record = RunFolder(folder).record()
    event = str(record[-1].get("event", "began")) if record else ""
    return STATUS.get(event, event)


def _rows(folder: Path, status: str, faults: list[DataError]) -> Iterable[dict[str, Any]]:
    """A row without a value for each task of a run; a spec that cannot be read is a fault."""
    try:
        spec, _ = RunSpec.parse(folder / "spec.json")
    except DataError as fault:
        faults.append(fault)
        return
    for task in spec.tasks:
        yield {
            **spec.cells,
            "status": status,
            "task": task.name,
            "split": "test",
            "metric": f"{task.name}.{task.main_metric}",
            "main": True,
            "family": "",
            "data_fingerprint": spec.data.get(task.name),
        }


def _nothing(folder: Path, count: int) -> str:
    if not folder.is_dir():
        text = f"{folder}: No such folder, so there are no results to report."
    elif count:
        runs = "1 run" if count == 1 else f"{count} runs"
        text = f"{folder}: No results to report yet: {runs} there without a result ({FILES})."
    else:
        text = f"{folder}: No results to report here (looked for {FILES})."
    command = f"vlbench run --method compacter --tasks image-text{results_option(folder)}"
    return f"{text}\nMake some: {command}"
