"""`SHA256SUMS` of a run's folder: what its files were when the run was done.

The format is that of the program `sha256sum`: `cd RUN; sha256sum -c --ignore-missing SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from vlbench.errors import DataError
from vlbench.files import flush, write_atomically

NAME = "SHA256SUMS"
WEIGHTS = "adapter.safetensors"
"""The one file that a folder may lack: results are often kept without weights."""
RESULT = "result.parquet"
SPEC = "spec.json"
CURVE = "metrics.jsonl"
"""The files that a run leaves for good are these, its predictions, weights and result; the others
tell how it went, or are for looking at."""
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def result_files(run: Traversable) -> list[str]:
    """Names of the files that the run left for good, relative to its folder."""
    folder = run / "predictions"
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    predictions = [f"predictions/{n}" for n in names if n.endswith(".parquet") and n[0] != "."]
    files = (SPEC, CURVE, *predictions, WEIGHTS, RESULT)
    return [name for name in files if (run / name).is_file()]


def write_sums(run: Path, coming: Mapping[str, bytes] | None = None) -> None:
    """Write the sums of the run's files, and of files about to be written with these contents."""
    sums = {name: hashlib.sha256(text).hexdigest() for name, text in (coming or {}).items()}
    new = [name for name in result_files(run) if name not in sums]
    for name in new:
        flush(run / name)  # a sum tells of what is on the disk
    table = {**sums, **{name: hash_of(run / name) for name in new}}
    write_atomically(run / NAME, sums_text(table))


def sums_text(sums: Mapping[str, str]) -> str:
    """The text of a file with these sums."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def read_sums(run: Traversable) -> dict[str, str] | None:
    """Read file -> sha256 from the run's folder; None where it has no such file."""
    try:
        text = (run / NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{run / NAME}: cannot be read: {error}") from None
    return parse_sums(text, str(run / NAME))


def parse_sums(text: str, file: str) -> dict[str, str]:
    """Parse file -> sha256; DataError, which names the `file`, where it is something else."""
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in sums:
            what = "a file for the second time" if match else "not `sha256  file`"
            raise DataError(f"{file}: line {number}: {what}: {line[:120]!r}.")
        sums[match[2]] = match[1]
    return sums


def hash_of(file: Traversable) -> str:
    """Return the sha256 of a file's contents."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while part := content.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
