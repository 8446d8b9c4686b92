"""What `status.json` and `attempts.jsonl` tell of a run, where they are kept: which try, when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from vlbench.running.folder import RunFolder
from vlbench.running.sums import RESULT
from vlbench.verifying.findings import Findings
from vlbench.verifying.inputs import Row
from vlbench.verifying.rows import label

SLACK = timedelta(days=1)
"""Clocks jump, by hours where somebody sets them."""


def check_history(run: Path, rows: Sequence[Row], findings: Findings) -> None:
    """The attempt is the one that ended the run; rows are of the time between begin and end.

    No sums are of these files: they speak against a cell, and never for one.
    """
    folder = RunFolder(run)
    status, record = folder.status(), folder.record()
    for file, fault in folder.faults().items():
        findings.fault(file.name, "", "", "", "", str(fault))
    if status.get("status") != "done":
        return
    begun = [line for line in record if line.get("event") == "began"]
    first = _time(begun[0].get("at")) if begun else None
    attempt, last = status.get("attempt"), _time(status.get("updated_at"))
    for row in rows:
        if isinstance(attempt, int):
            why = "status.json says so"
            findings.cell(RESULT, label(row), "attempt", row["attempt"], attempt, why)
        found = _time(row["created_at"])
        if found and first and found < first - SLACK:
            why = "before the run began, as attempts.jsonl says"
            findings.fault(RESULT, label(row), "created_at", str(found), f"from {first}", why)
        if found and last and found > last + SLACK:
            why = "after the run was done, as status.json says"
            findings.fault(RESULT, label(row), "created_at", str(found), f"until {last}", why)


def _time(text: object) -> datetime | None:
    """The time that stands there, if one does."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
