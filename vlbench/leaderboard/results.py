"""Read what runs wrote: one table of the rows in all part files, and training curves.

Of many runs the rows are kept in an index in the cache. A run's rows come from there while size and
time of its `result.parquet` are those they were read with; a file younger than two seconds is read
again, as another write may have the same time (as git does).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlbench import parquet
from vlbench.errors import DataError, MissingError, NothingToReport
from vlbench.files import cache_folder, text_lines, write_atomically
from vlbench.parquet import COLUMNS, IDENTIFYING, LATER, MOST_RESULT_ROWS, result_schema
from vlbench.runs.folder import RunFolder, run_folders
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import RESULT
from vlbench.text import printable, results_option

FILES = f"runs/*/{RESULT}"
INDEX_VERSION = 2
INDEX_KEY = b"vlbench.index"
INDEXED_RUNS = 50
"""Number of runs from which on an index is kept: fewer are read as fast without."""
RACY_NS = 2_000_000_000
STATUS = {"began": "unfinished", "done": "result lost"}
"""Status of a run without a result by the last event on record; others are their own status."""
UNREADABLE = "result unreadable"
Part = tuple[tuple[int, int], pa.Table]
"""Size and time (ns) of a run's part file, and its rows."""


@dataclass(frozen=True)
class Log:
    """The training curve of one run: losses by task, validations by epoch."""

    losses: Mapping[str, Sequence[tuple[int, float]]]  # step, loss of that batch
    validations: Mapping[int, Mapping[str, float]]  # main metrics on the validation split

    @property
    def last_step(self) -> int:
        """The last step with a loss; 0 where there is none."""
        return max((step for points in self.losses.values() for step, _ in points), default=0)


def read_results(folder: Path, damaged: list[DataError] | None = None) -> pd.DataFrame:
    """Read every row of every run: one per task, split, metric and family.

    Runs that were begun and have no result have a row per task without a value; the status says
    why. Results that cannot be read are an error; where `damaged` is given they are added to it and
    count among those without a result, unless none can be read.
    """
    faults: list[DataError] = []
    folders = run_folders(folder, faults)
    parts, unreadable = _read_parts(folder, folders)
    faults += unreadable.values()
    if faults and (damaged is None or not parts):
        raise faults[0]
    if not parts:
        count = f"{len(folders)} run{'s' * (len(folders) != 1)} without a result"
        raise NothingToReport(
            f"{folder}: No results to report: {count if folder.is_dir() else 'no such folder'} "
            f"(looked for {FILES}).\nMake some: vlbench run --method compacter --tasks image-text"
            f"{results_option(folder)}"
        )
    owners: dict[str, str] = {}
    for name, (_, table) in parts.items():
        for key in table.column("key").unique().to_pylist():
            if (owner := owners.setdefault(key, name)) != name:  # a copy would count a seed twice
                runs = folder / "runs"
                raise DataError(f"{runs / name}: Run {key} is in {runs / owner} too. Remove one.")
    rows = [
        row
        for run in folders
        if run.name not in parts
        for row in _rows(run, run.name in unreadable, faults)
    ]
    if damaged is not None:
        damaged += faults
    tables = [*(part[1] for part in parts.values()), pa.Table.from_pylist(rows, result_schema())]
    results: pd.DataFrame = pa.concat_tables(tables).to_pandas(integer_object_nulls=True)
    return results


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


def read_log(folder: Path, key: str) -> Log | None:
    """Read the curve of a run of a results folder; None where the run has no such file."""
    file = folder / "runs" / key / "metrics.jsonl"
    losses: dict[str, list[tuple[int, float]]] = {}
    validations: dict[int, dict[str, float]] = {}
    try:
        lines = text_lines(file)
    except FileNotFoundError:
        return None
    except (OSError, DataError) as error:
        raise DataError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: line {number}: Not JSON: {error}") from None
        match line:
            case {"epoch": int(epoch), "validation": dict(values)}:
                numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
                validations[epoch] = {printable(name): float(v) for name, v in numbers.items()}
            case {"step": int(step), "task": str(task), "loss": int(loss) | float(loss)}:
                if math.isfinite(loss):
                    losses.setdefault(printable(task), []).append((step, loss))
            case _:
                text = f"{file}: line {number}: Neither a loss by step nor a validation."
                raise DataError(text)
    return Log(losses, validations)


def index_file(folder: Path) -> Path:
    """Path of a results folder's index in the cache."""
    digits = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return cache_folder() / "results" / f"{digits}.parquet"


def _read_parts(folder: Path, runs: Sequence[Path]) -> tuple[dict[str, Part], dict[str, DataError]]:
    """Rows of the runs that have a result, from the index while it has not changed; and faults."""
    runs = [run for run in runs if os.path.lexists(run / RESULT)]
    known = _load_index(folder) if len(runs) >= INDEXED_RUNS else {}
    parts: dict[str, Part] = {}
    faults: dict[str, DataError] = {}
    for run in runs:
        file, now = run / RESULT, time.time_ns()
        try:
            stat = file.stat()
            stamp = stat.st_size, stat.st_mtime_ns
            if run.name in known and known[run.name][0] == stamp:
                parts[run.name] = known[run.name]
            else:
                is_young = stat.st_mtime_ns > now - RACY_NS
                parts[run.name] = (stat.st_size, 0) if is_young else stamp, _read_part(file)
        except FileNotFoundError:
            if not os.path.lexists(file):
                text = f"{file}: It has gone while results were read. Try again."
                raise DataError(text) from None
            faults[run.name] = DataError(f"{file}: A link that leads nowhere.")
        except DataError as fault:
            faults[run.name] = fault
    is_new = any(known.get(name) is not part for name, part in parts.items())
    if len(runs) >= INDEXED_RUNS and (is_new or len(known) > len(parts)):
        _store_index(folder, parts)
    return parts, faults


def _load_index(folder: Path) -> dict[str, Part]:
    """Read rows by run folder; nothing where the index is missing, torn, foreign or older."""
    with suppress(OSError, MissingError, pa.ArrowException, ValueError, KeyError, TypeError):
        table = pq.read_table(index_file(folder))
        header = json.loads(table.schema.metadata[INDEX_KEY])
        table = table.replace_schema_metadata(None)
        parts, start = {}, 0
        for name, size, changed_ns, count in header["runs"]:
            parts[name] = (size, changed_ns), table.slice(start, count)
            start += count
        is_ours = header["version"] == INDEX_VERSION and table.schema.equals(result_schema())
        return parts if is_ours and start == table.num_rows else {}
    return {}


def _store_index(folder: Path, parts: Mapping[str, Part]) -> None:
    """Keep the rows; where that cannot be written, the next report reads the files again."""
    runs = [(name, *stamp, rows.num_rows) for name, (stamp, rows) in parts.items()]
    header = json.dumps({"version": INDEX_VERSION, "runs": runs}).encode()
    table = pa.concat_tables([rows for _, rows in parts.values()]).combine_chunks()
    table = table.replace_schema_metadata({INDEX_KEY: header})
    with suppress(OSError, MissingError):
        write_atomically(
            index_file(folder), lambda path: pq.write_table(table, path), is_flushed=False
        )


def _read_part(file: Path) -> pa.Table:
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


def _rows(folder: Path, is_unreadable: bool, faults: list[DataError]) -> Iterator[dict[str, Any]]:
    """A row without a value for each task of a run that began; an unreadable spec is a fault."""
    events = [str(line.get("event", "began")) for line in RunFolder(folder).record()]
    status = STATUS.get(events[-1], events[-1]) if events else ""
    status = UNREADABLE if is_unreadable else status
    if not status:
        return
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
