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
    folders = RunFolder.all(results)
    if not folders:
        raise NothingToReport(f"{results}: no runs here (looked for runs/*/spec.json).")
    found = [folder for folder in folders if folder.path.name.startswith(text)]
    if not found:
        wanted = _words(text)
        found = [folder for folder in folders if wanted <= _words(_name(folder))]
    if not found or not text.strip():
        raise UsageError(
            f"No run '{text}' in {results}: a run is named by the begin of its key or by words "
            f"such as 'compacter seed 0'. See them: vlbench list runs{results_option(results)}"
        )
    if len(found) > 1:
        lines = [f"  {folder.path.name}  {_name(folder)}" for folder in found[:MOST]]
        more = [f"  and {len(found) - MOST} more"] if len(found) > MOST else []
        raise UsageError("\n".join([f"'{text}' names {len(found)} runs:", *lines, *more]))
    return found[0]


def _name(folder: RunFolder) -> str:
    """The run's name; nothing where its spec cannot be read, as `list runs` tells."""
    with suppress(DataError):
        return RunSpec.read(folder.spec_file).name
    return ""


def _words(text: str) -> set[str]:
    return set(re.split(r"[\s,]+", text.strip()))
