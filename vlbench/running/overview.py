"""How far the runs of a results folder are, for showing it again and again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlbench.errors import DataError, NothingToReport
from vlbench.running.folder import RunFolder
from vlbench.running.spec import RunSpec
from vlbench.running.states import place
from vlbench.times import spoken

PROGRESS = ("phase", "step", "total", "epoch", "loss", "examples_per_second", "seconds_left")
"""What `status.json` says of a run at work, and only then; numbers, but for the phase."""
LARGEST = 1e15
ORDER = ("running", "queued", "failed", "out-of-memory", "timeout", "stopped", "preempted")
"""What one looks for first."""


class Overview:
    """The runs of one folder; what does not change is read once."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.faults: list[DataError] = []
        """What is wrong with what cannot be read."""
        self._facts: dict[Path, dict[str, Any]] = {}
        self._done: dict[Path, dict[str, Any]] = {}

    def items(self) -> list[dict[str, Any]]:
        """Every run as it is now, those at work first."""
        self.faults = []
        found = []
        for folder in RunFolder.all(self.results, self.faults):
            try:
                found.append(self._done.get(folder.path) or self._item(folder))
                self.faults += folder.faults().values()
            except DataError as error:
                self.faults.append(error)
        if not found and not self.faults:
            raise NothingToReport(f"{self.results}: no runs here (looked for runs/*/spec.json).")
        return sorted(found, key=_rank)

    def _item(self, folder: RunFolder) -> dict[str, Any]:
        if folder.path not in self._facts:
            self._facts[folder.path] = RunSpec.read(folder.spec_file).facts
        item = {**self._facts[folder.path], **_now(folder)}
        if item["status"] == "done":
            self._done[folder.path] = item
        return item


def told(status: Mapping[str, Any]) -> dict[str, str]:
    """How far a run at work is, as texts: phase, and what is known of step, loss, rate, left."""
    found = {"phase": str(status.get("phase") or "starting")}
    if status.get("total"):
        found["step"] = f"{status.get('step') or 0:,}/{status['total']:,}"
    if found["phase"] != "training":
        return found
    if status.get("epoch") is not None:
        found["phase"] = f"epoch {status['epoch']}"
    for name, key in (("loss", "loss"), ("rate", "examples_per_second"), ("left", "seconds_left")):
        value = status.get(key)
        if value is not None:
            found[name] = SPELLINGS[name](value)
    return found


SPELLINGS = {"loss": "{:.3f}".format, "rate": "{:,.0f}".format, "left": spoken}


def _now(folder: RunFolder) -> dict[str, Any]:
    """How a run stands, with the progress of one at work and the error of one that is not."""
    state, said = folder.state, folder.status()
    is_running = state == "running"
    has_ended_badly = state not in ("running", "queued", "done", "planned")
    return {
        "status": state,
        "attempts": folder.attempts(),
        "where": place(folder) if is_running else "",
        "job": str(folder.job().get("job") or ""),
        **{name: _shown(said.get(name), name) if is_running else None for name in PROGRESS},
        "updated_at": said.get("updated_at"),
        "error": str(said.get("error") or "") if has_ended_badly else "",
    }


def _shown(value: object, name: str) -> str | float | None:
    """What can be shown of the progress, whatever stands in the file."""
    if isinstance(value, str):
        return value if name == "phase" else None
    return value if isinstance(value, int | float) and abs(value) < LARGEST else None


def _rank(item: Mapping[str, Any]) -> tuple[Any, ...]:
    status = item["status"]
    first = ORDER.index(status) if status in ORDER else len(ORDER)
    names = ("suite", "backbone", "edition", "method", "settings", "seed", "key")
    return (first, *(item[name] for name in names))
