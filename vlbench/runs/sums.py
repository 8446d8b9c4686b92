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
SEALED = ("spec.json", "metrics.jsonl", "predictions/*.parquet", WEIGHTS, RESULT)
"""The files that a run leaves for good; the others tell how it went, or are for looking at."""
OTHERS = {
    *("status.json", "attempts.jsonl", "log.txt", "job.json", "cancel", "lock", "holder.json"),
    *("checkpoint", "submissions", NAME),
}
"""What else a run's folder may hold, which no sums are of; nothing else is written there."""
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def sealed_files(run: Path) -> list[str]:
    """Those of the files that are there, relative to the run's folder."""
    return [
        file.relative_to(run).as_posix()
        for pattern in SEALED
        for file in sorted(run.glob(pattern))
        if not file.name.startswith(".") and file.is_file()
    ]


def strange_files(run: Path) -> list[str]:
    """What is in the run's folder, or among its predictions, that no run writes there."""
    known = OTHERS | {"predictions"}
    strange = [
        file.name
        for file in run.iterdir()
        if file.name not in known and not (file.name in SEALED and file.is_file())
    ]
    strange += [
        f"predictions/{file.name}"
        for file in run.glob("predictions/*")
        if file.suffix != ".parquet" or not file.is_file()
    ]
    return sorted(name for name in strange if not name.rpartition("/")[2].startswith("."))


def write_sums(run: Path, coming: Mapping[str, bytes] | None = None) -> Path:
    """Write the sums of what is there, and of files that are about to come with these contents."""
    known = {name: hashlib.sha256(content).hexdigest() for name, content in (coming or {}).items()}
    return _complete(run, known)


def seal(run: Path) -> str:
    """Write the sums that a run lacks, leave those that are there; says what was done."""
    kept = read_sums(run)
    if kept is not None and kept.keys() >= set(sealed_files(run)):
        return "sealed before"
    _complete(run, dict(kept or {}))
    return "sealed" if kept is None else "completed"


def _complete(run: Path, known: dict[str, str]) -> Path:
    """Write these sums with those of all other files that are there."""
    for name in sealed_files(run):
        if name not in known:
            flush(run / name)  # a sum tells of what is on the disk
            known[name] = hash_of(run / name)
    lines = (f"{known[name]}  {name}\n" for name in sorted(known))
    return write_atomically(run / NAME, "".join(lines))


def read_sums(run: Path) -> dict[str, str] | None:
    """File -> sha256 as the run's folder says; None where it says nothing."""
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
            raise DataError(
                f"{run / NAME}: line {number}: {what}: {line[:120]!r}. "
                "Once it is removed, vlbench results seal writes new ones."
            )
        sums[match[2]] = match[1]
    return sums


def hash_of(file: Path) -> str:
    """sha256 over a file's contents, which are read: nothing is remembered."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
