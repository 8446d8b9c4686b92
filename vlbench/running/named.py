"""Which run of a results folder the user means: the begin of its key, or words of its name."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.hints import results_option
from vlbench.running.folder import RunFolder
from vlbench.running.spec import RunSpec

MOST = 20
"""So many runs are listed where several are meant."""


def find_run(results: Path, text: str) -> RunFolder:
    """The one run whose key begins so, or whose name has all these words: `compacter seed 0`."""
    faults: list[DataError] = []
    folders = RunFolder.all(results, faults)
    if not folders and not faults:
        raise NothingToReport(f"{results}: no runs here (looked for runs/*/spec.json).")
    found = [folder for folder in folders if folder.path.name.startswith(text)]
    if not found:
        wanted = _words(text)
        found = [folder for folder in folders if wanted <= _words(name_of(folder))]
    if not found or not text.strip():
        left_out = "".join(f"\nLeft out: {fault}" for fault in faults)
        raise UsageError(
            f"No run '{text}' in {results}: a run is named by the begin of its key or by words "
            f"such as 'compacter seed 0'. See them: vlbench list runs{results_option(results)}"
            f"{left_out}"
        )
    if len(found) > 1:
        lines = [f"  {folder.path.name}  {name_of(folder)}" for folder in found[:MOST]]
        more = [f"  and {len(found) - MOST} more"] if len(found) > MOST else []
        raise UsageError("\n".join([f"'{text}' names {len(found)} runs:", *lines, *more]))
    return found[0]


def name_of(folder: RunFolder) -> str:
    """The run's name; nothing where its spec cannot be read, as `list runs` tells."""
    with suppress(DataError):
        return RunSpec.read(folder.spec_file).name
    return ""


def _words(text: str) -> set[str]:
    return set(re.split(r"[\s,]+", text.strip()))
