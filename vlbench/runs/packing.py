"""Pack the runs of a results folder, and unpack them: every run is whole at any moment.

A pack is written beside, read back and compared with the runs' files byte for byte, and renamed;
only then are the runs' folders removed. A run that is in a folder and in a pack is read from its
folder, so a process that is killed in between leaves nothing to repair.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vlbench.errors import DataError, MissingError
from vlbench.files import (
    LARGEST_JSON,
    flush,
    is_temporary,
    read_small,
    remove_forgotten,
    temporary_beside,
    write_atomically,
)
from vlbench.parquet import COLUMNS, LATER, MOST_ROWS, decode, open_parquet
from vlbench.runs.folder import RunFolder, run_folders
from vlbench.runs.packed import FOLDER, PREDICTION, TABLES, Pack, PackedPath, packs_of
from vlbench.runs.packed_files import read_curve, write_curve
from vlbench.runs.sums import CURVE, NAME, RESULT, hash_of, read_sums, sums_text

DICTIONARY_BYTES = 1 << 28
"""Long texts, as references are, still stand once in a group of rows."""


class Packing(NamedTuple):
    """What packing did."""

    packed: list[str]  # keys of the runs that are packed now
    left: dict[str, str]  # key of a run that keeps its folder -> why


class _Parts(NamedTuple):
    """One run as rows of each of TABLES."""

    key: str
    suite: str
    tables: dict[str, list[pa.Table]]


def pack(results: Path) -> Packing:
    """Pack every run that is done and whose files come back byte for byte.

    Runs that were packed before are packed anew with them, so the same runs give the same bytes.
    """
    unpack(results)
    remove_forgotten(results)
    remove_forgotten(results / "runs")
    left: dict[str, str] = {}
    parts: dict[str, _Parts] = {}
    for run in run_folders(results):
        try:
            parts[run.name] = _parts(run)
        except DataError as error:
            left[run.name] = str(error).removeprefix(f"{run}: ")
    beside = temporary_beside(results / FOLDER)
    try:
        while parts:
            shutil.rmtree(beside, ignore_errors=True)
            _write(beside, list(parts.values()))
            if not (differing := dict(_differing(results, beside))):
                break
            left |= differing
            parts = {key: part for key, part in parts.items() if key not in differing}
        if parts:
            beside.rename(results / FOLDER)
            flush(results)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for key in parts:
        _remove(results / "runs" / key)
    return Packing([*parts], dict(sorted(left.items())))


def unpack(results: Path) -> list[str]:
    """Write each packed run to its folder again, with the bytes that it had; return their keys.

    DataError where a file is no longer what the run's sums say; everything then stays packed.
    """
    packs = packs_of(results)
    keys = [key for suite in packs for key in sorted(suite.keys)]
    for suite in packs:
        if not suite.is_repeatable:
            writer = suite.writer.rpartition(" ")[2]
            raise MissingError(
                f"{suite.folder}: packed by pyarrow {writer}, here is pyarrow {pa.__version__}, "
                "which writes Parquet files with other bytes than the runs had. Packed runs can "
                f"be read all the same; to unpack them: pip install pyarrow=={writer}"
            )
        for key in sorted(suite.keys):
            _unpack_run(PackedPath(suite, key), results / "runs")
    if packs:
        _remove(results / FOLDER)
    return keys


def _unpack_run(run: PackedPath, runs: Path) -> None:
    folder = runs / run.key
    if (folder / RESULT).is_file():  # it is read from there already
        return
    if os.path.lexists(folder):
        raise DataError(
            f"{folder}: a run without a result stands where the packed run of this key goes. Move "
            "the folder out of the results."
        )
    sums = read_sums(run) or {}
    beside = temporary_beside(folder)
    try:
        for name in run.pack.names(run.key):
            write_atomically(beside / name, (run / name).read_bytes())
            if sums.get(name, hash_of(beside / name)) != hash_of(beside / name):
                raise DataError(
                    f"{run / name}: not what the run's {NAME} says: nothing more is unpacked. "
                    "vlbench verify lists what does not hold."
                )
        flush(beside.rename(folder))
        flush(runs)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove a folder that is no longer needed: at once for readers."""
    hidden = folder.rename(temporary_beside(folder))
    flush(folder.parent)
    shutil.rmtree(hidden)


def _parts(run: Path) -> _Parts:
    """The rows of a run's files; DataError, with the reason, where it is not to be packed."""
    folder = RunFolder(run)
    if not folder.is_done:
        raise DataError("it is not done")
    if folder.lock.is_locked:
        raise DataError("a process is at work on it")
    tables: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
    texts: list[dict[str, str]] = []
    for file in sorted(run.rglob("*")):
        name = file.relative_to(run).as_posix()
        if (file.is_dir() and not file.is_symlink()) or is_temporary(file.name):
            continue
        if file.is_symlink() or not file.is_file():
            raise DataError(f"{name} is no plain file")
        if name == RESULT:
            tables["rows"].append(_with_later(_read(file, name)))
        elif file.parent == folder.predictions and file.suffix == ".parquet":
            tables["predictions"].append(_indexed(_read(file, name), run.name, file.stem))
        else:
            texts.append({"key": run.name, "file": name, "text": _text(file, name)})
    # the curve of what trains nothing is an empty file, and stays one
    if curve := next((row for row in texts if row["file"] == CURVE and row["text"]), None):
        texts.remove(curve)
        tables["curves"].append(_curve(curve["text"], run.name))
    tables["files"].append(pa.Table.from_pylist(texts, TABLES["files"]))
    (rows,) = tables["rows"]
    if {*rows["key"].to_pylist()} != {run.name}:
        raise DataError(f"{RESULT} holds rows of another run, or none")
    return _Parts(run.name, rows["suite"][0].as_py(), tables)


def _text(file: Path, name: str) -> str:
    if file.stat().st_size > LARGEST_JSON:
        raise DataError(f"{name} is larger than {LARGEST_JSON:,} bytes")
    try:
        return read_small(file).decode()
    except ValueError:
        raise DataError(f"{name} is no text") from None


def _read(file: Path, name: str) -> pa.Table:
    try:
        content = pa.py_buffer(file.read_bytes())
        return decode(content, open_parquet(content), None, MOST_ROWS)
    except (OSError, ValueError, pa.ArrowException, DataError) as error:
        raise DataError(f"{name} cannot be read: {str(error).partition(chr(10))[0]}") from None


def _with_later(table: pa.Table) -> pa.Table:
    for name in [name for name in LATER if name not in table.column_names]:
        cells = pa.array([LATER[name]] * table.num_rows, COLUMNS.field(name).type)
        table = table.append_column(COLUMNS.field(name), cells)
    return _cast(table, COLUMNS, RESULT)


def _indexed(table: pa.Table, key: str, task: str) -> pa.Table:
    table = _cast(table, PREDICTION, f"predictions/{task}.parquet")
    for name, value in (("task", task), ("key", key)):
        table = table.add_column(0, name, pa.array([value] * table.num_rows, pa.string()))
    return table


def _cast(table: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, ValueError, pa.ArrowException):
        raise DataError(f"{name} has other columns than runs write") from None


def _curve(text: str, key: str) -> pa.Table:
    try:
        rows = [{"key": key, **row} for row in read_curve(text)]
        table = pa.Table.from_pylist(rows, TABLES["curves"])
        if write_curve(table.to_pylist()) == text.encode():
            return table
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException):
        pass
    raise DataError(f"{CURVE} is not as training writes it")


def _write(folder: Path, parts: Sequence[_Parts]) -> None:
    """Write the packs of these runs to a new folder, and their sums."""
    sums = {}
    for suite in sorted({part.suite for part in parts}):
        own = sorted((part for part in parts if part.suite == suite), key=lambda part: part.key)
        (folder / suite).mkdir(parents=True)
        for table, schema in TABLES.items():
            file = Pack(folder / suite).file(table)
            runs = [rows for part in own for rows in part.tables[table]]
            if table == "predictions":  # by task, so that equal texts stand side by side
                runs.sort(key=lambda rows: str(rows["task"][0]) if rows.num_rows else "")
            write_table(file, pa.concat_tables([schema.empty_table(), *runs]))
            sums[f"{suite}/{file.name}"] = hash_of(file)
        flush(folder / suite)
    write_atomically(folder / NAME, sums_text(sums))


def write_table(file: Path, table: pa.Table) -> None:
    """Write one of a pack's tables."""
    with file.open("wb") as content:
        pq.write_table(
            table,
            content,
            compression="zstd",
            compression_level=15,
            row_group_size=MOST_ROWS,
            dictionary_pagesize_limit=DICTIONARY_BYTES,
        )
    flush(file)


def _differing(results: Path, packed: Path) -> Iterator[tuple[str, str]]:
    """Each run that does not come back from the packs as it is: its key, and which file."""
    for suite in (Pack(folder) for folder in sorted(packed.iterdir()) if folder.is_dir()):
        for key in sorted(suite.keys):
            run, stored = results / "runs" / key, PackedPath(suite, key)
            files = {f for f in run.rglob("*") if f.is_file() and not is_temporary(f.name)}
            names = {file.relative_to(run).as_posix() for file in files}
            for name in sorted(names ^ {*suite.names(key)}):
                yield key, f"{name} does not come back"
            for name in sorted(names & {*suite.names(key)}):
                if (stored / name).read_bytes() != (run / name).read_bytes():
                    yield key, f"{name} would not come back byte for byte: written otherwise"
