"""Runs that began and have no result, as rows: a failed attempt is on record, never an absence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlbench.errors import DataError
from vlbench.running.folder import RunFolder
from vlbench.running.spec import RunSpec

UNFINISHED = "unfinished"
"""The status of a run whose last attempt has no end on record: it goes on, or was killed."""
LOST = "result lost"
"""The status of a run that was done, and whose result is gone."""
UNREADABLE = "result unreadable"


def unfinished_rows(
    begun: Iterable[Path], unreadable: Iterable[Path], faults: list[DataError]
) -> list[dict[str, Any]]:
    """A row without a value for each task of these run folders' runs, but for those only planned.

    `unreadable` has results that cannot be read. A folder whose spec cannot be read gives no row
    and adds to `faults`.
    """
    statuses = {folder: _status(folder) for folder in begun} | dict.fromkeys(unreadable, UNREADABLE)
    return [
        row
        for folder, status in statuses.items()
        if status
        for row in _rows(folder, status, faults)
    ]


def _status(folder: Path) -> str:
    """How the last attempt ended; empty where none began."""
    record = RunFolder(folder).record()
    event = str(record[-1].get("event", "began")) if record else ""
    return {"began": UNFINISHED, "done": LOST}.get(event, event)


def _rows(folder: Path, status: str, faults: list[DataError]) -> list[dict[str, Any]]:
    try:
        spec, _ = RunSpec.parse(folder / "spec.json")
    except DataError as fault:
        faults.append(fault)
        return []
    return [
        {
            **spec.cells,
            "status": status,
            "task": task.name,
            "split": "test",
            "metric": f"{task.name}.{task.main_metric}",
            "main": True,
            "family": "",
            "data_fingerprint": spec.data.get(task.name),
        }
        for task in spec.tasks
    ]
