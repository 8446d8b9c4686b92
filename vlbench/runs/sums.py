"""`SHA256SUMS` of a run's folder: what its files were when the run was done.

The format is that of the program `sha256sum`: `cd RUN; sha256sum -c --ignore-missing SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from vlbench.errors import DataError
from vlbench.files import flush, write_atomically

NAME = "SHA256SUMS"
WEIGHTS = "adapter.safetensors"
"""The one file that a folder may lack: results are often kept without weights."""
RESULT = "result.parquet"
FILES = ("spec.json", "metrics.jsonl", "predictions/*.parquet", WEIGHTS, RESULT)
"""The files that a run leaves for good; the others tell how it went, or are for looking at."""
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def result_files(run: Path) -> list[str]:
    """Names of the files that the run left for good, relative to its folder."""
    return [
        file.relative_to(run).as_posix()
        for pattern in FILES
        for file in sorted(run.glob(pattern))
        if not file.name.startswith(".") and file.is_file()
    ]


def write_sums(run: Path, coming: Mapping[str, bytes] | None = None) -> None:
    """Write the sums of the run's files, and of files about to be written with these contents."""
    sums = {name: hashlib.sha256(text).hexdigest() for name, text in (coming or {}).items()}
    new = [name for name in result_files(run) if name not in sums]
    for name in new:
        flush(run / name)  # a sum tells of what is on the disk
    table = {**sums, **{name: hash_of(run / name) for name in new}}
    write_atomically(run / NAME, "".join(f"{table[name]}  {name}\n" for name in sorted(table)))


def read_sums(run: Path) -> dict[str, str] | None:
    """Read file -> sha256 from the run's folder; None where it has no such file."""
    try:
        lines = (run / NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{run / NAME}: cannot be read: {error}") from None
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in sums:
            what = "a file for the second time" if match else "not `sha256  file`"
            raise DataError(f"{run / NAME}: line {number}: {what}: {line[:120]!r}.")
        sums[match[2]] = match[1]
    return sums


def hash_of(file: Path) -> str:
    """Return the sha256 of a file's contents."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
