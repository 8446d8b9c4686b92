"""Read what runs wrote: one table of the rows in all part files, and training curves."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vlbench import parquet
from vlbench.errors import DataError, NothingToReport
from vlbench.files import text_lines
from vlbench.parquet import COLUMNS, LATER, MOST_RESULT_ROWS
from vlbench.runs.folder import RunFolder, run_folders
from vlbench.runs.packed import Pack, PackedPath, packs_of
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import CURVE, RESULT
from vlbench.text import printable, results_option

FOLDED = pa.schema(
    field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.type == pa.string() else field
    for field in COLUMNS
)
"""COLUMNS with each text once: categories in pandas."""
STATUS = {"began": "unfinished", "done": "result lost"}
"""Status of a run without a result by the last event on record; others are their own status."""


@dataclass(frozen=True)
class Log:
    """The training curve of one run: losses by task, validations by epoch."""

    losses: Mapping[str, Sequence[tuple[int, float]]]  # step, loss of that batch
    validations: Mapping[int, Mapping[str, float]]  # main metrics on the validation split


def read_results(folder: Path, damaged: list[DataError] | None = None) -> pd.DataFrame:
    """Read every row of every run: one per task, split, metric and family.

    Runs that were begun and have no result have a row per task without a value; the status says
    why. Results that cannot be read are an error; where `damaged` is given they are left out and
    added to it, unless none can be read.
    """
    faults: list[DataError] = []
    folders = run_folders(folder, faults)
    parts: dict[Path, pa.Table] = {}
    packs = packs_of(folder, faults)
    packed = {key for pack in packs for key in pack.keys}
    in_folders = {run.name for run in folders if os.path.lexists(run / RESULT)}
    without: list[dict[str, Any]] = []
    for run in folders:
        try:
            if run.name in in_folders:
                part = read_result(run / RESULT)
                if not part.num_rows:
                    raise DataError(f"{run / RESULT}: no rows")
                parts[run] = part
            elif run.name not in packed:
                without += _rows(run)
        except DataError as fault:
            faults.append(fault)
    for pack in packs:
        try:
            parts[pack.folder] = _packed_rows(pack, in_folders)
        except DataError as fault:
            faults.append(fault)
    if faults and (damaged is None or not parts):
        raise faults[0]
    if not parts:
        count = f"{len(folders)} run{'s' * (len(folders) != 1)} without a result"
        raise NothingToReport(
            f"{folder}: No results to report: {count if folder.is_dir() else 'no such folder'} "
            f"(looked for runs/*/{RESULT} and packed/).\n"
            f"Make some: vlbench run --method compacter --tasks image-text{results_option(folder)}"
        )
    if damaged is not None:
        damaged += faults
    owners: dict[str, Path] = {}
    for run, part in parts.items():
        for key in part["key"].unique().to_pylist():
            if (owner := owners.setdefault(key, run)) != run:  # a copy would count a seed twice
                raise DataError(f"{run}: Run {key} is in {owner} too. Remove one.")
    of_packs = {pack.folder for pack in packs}
    plain = [pa.Table.from_pylist(without, COLUMNS)]
    plain += [part for place, part in parts.items() if place not in of_packs]
    tables = [pa.concat_tables(plain).cast(FOLDED)]
    tables += [part for place, part in parts.items() if place in of_packs]
    results: pd.DataFrame = pa.concat_tables(tables).to_pandas(integer_object_nulls=True)
    return results


def read_parquet(
    file: Traversable, columns: Sequence[str] | None = None, most_rows: int = parquet.MOST_ROWS
) -> pa.Table:
    """Read a Parquet file; FileNotFoundError is left to the caller.

    DataError where it is damaged or too large, or holds NaN or infinity, which nothing can be
    compared with. Decoding in this thread takes a third of the time that Arrow's own reading takes
    for files of some kilobytes.
    """
    try:
        if isinstance(file, PackedPath):
            table = file.table(columns)
        else:
            content = pa.py_buffer(file.read_bytes())
            table = parquet.decode(content, parquet.open_parquet(content), columns, most_rows)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pa.ArrowException, DataError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{file}: Not a readable Parquet file: {reason}") from error
    if absent := set(columns or ()) - set(table.column_names):
        raise DataError(f"{file}: column '{min(absent)}' is missing")
    _refuse_not_finite(file, table)
    return table


def _refuse_not_finite(file: Traversable, table: pa.Table) -> None:
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_floating(field.type) and pc.all(pc.is_finite(column)).as_py() is False:
            raise DataError(f"{file}: column '{field.name}' has cells that are no finite numbers")


def read_log(run: Traversable) -> Log | None:
    """Read the curve of a run; None where the run has no such file."""
    file = run / CURVE
    losses: dict[str, list[tuple[int, float]]] = {}
    validations: dict[int, dict[str, float]] = {}
    number = 0
    try:
        for text in text_lines(file):
            number += 1
            match json.loads(text):
                case {"epoch": int(epoch), "validation": dict(values)}:
                    numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
                    validations[epoch] = {printable(name): float(v) for name, v in numbers.items()}
                case {"step": int(step), "task": str(task), "loss": int(loss) | float(loss)}:
                    if math.isfinite(loss):
                        losses.setdefault(printable(task), []).append((step, loss))
                case _:
                    raise DataError("Neither a loss by step nor a validation")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, DataError) as error:
        raise DataError(f"{file}: line {number}: {error}.") from None
    return Log(losses, validations)


def read_table(
    file: Traversable,
    schema: pa.Schema,
    most_rows: int = parquet.MOST_ROWS,
    later: Mapping[str, object] = MappingProxyType({}),
) -> pa.Table:
    """Read the columns of a schema; DataError that names every one that is not as it says.

    `later`: columns that a file may lack -> what it means without them.
    """
    try:
        table = read_parquet(file, most_rows=most_rows)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    return _as_schema(file, table, schema, later)


def _as_schema(
    file: Traversable, table: pa.Table, schema: pa.Schema, later: Mapping[str, object]
) -> pa.Table:
    for name in [name for name in later if name not in table.column_names]:
        cells = pa.array([later[name]] * table.num_rows, schema.field(name).type)
        table = table.append_column(schema.field(name), cells)
    is_alike = table.schema.equals(schema)  # the usual, and soon seen
    columns: dict[str, list[pa.ChunkedArray]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        columns.setdefault(name, []).append(column)
    faults = []
    for field in schema:
        stored = [column.type for column in columns.get(field.name, [])]
        if not is_alike and stored != [field.type]:
            types = " and ".join(map(str, stored)) or "missing"
            faults.append(f"column '{field.name}' is {types}, expected {field.type}")
        elif not field.nullable and columns[field.name][0].null_count:
            faults.append(f"column '{field.name}' has empty cells")
    if faults:
        raise DataError(f"{file}: {'; '.join(faults)}")
    return table if is_alike else table.select(schema.names).cast(schema)


def read_result(file: Traversable) -> pa.Table:
    """Read a `result.parquet`."""
    return read_table(file, COLUMNS, MOST_RESULT_ROWS, LATER)


def _packed_rows(pack: Pack, in_folders: Collection[str]) -> pa.Table:
    """The rows of packed runs, but for those that have a folder with a result too."""
    table = pack.rows()
    _refuse_not_finite(pack.file("rows"), table)
    table = _as_schema(pack.file("rows"), table, FOLDED, LATER)
    if twice := pack.keys.intersection(in_folders):
        return table.filter(pc.invert(pc.is_in(table["key"], pa.array(sorted(twice)))))
    return table


def _rows(folder: Path) -> list[dict[str, Any]]:
    """A row without a value for each task of a run that began."""
    events = [str(line.get("event", "began")) for line in RunFolder(folder).record()]
    if not events:
        return []
    spec, _ = RunSpec.parse(folder / "spec.json")
    cells = {**spec.cells, "status": STATUS.get(events[-1], events[-1]), "split": "test"}
    cells |= {"main": True, "family": ""}
    names = ((task.name, f"{task.name}.{task.main_metric}") for task in spec.tasks)
    return [
        {**cells, "task": task, "metric": metric, "data_fingerprint": spec.data.get(task)}
        for task, metric in names
    ]
