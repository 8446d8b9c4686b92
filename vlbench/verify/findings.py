"""Findings of a verification: cells that hold, cells that do not, cells that cannot be checked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

NEAR = 1e-9
"""Numbers are equal up to this part: other versions of Python and numpy sum in another order."""

NOTHING = 1e-15
"""What rounding may leave of a zero."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One cell that does not hold."""

    file: str
    """Within the run's folder, or a card."""
    row: str
    """Which row, line or example; empty where the file has none."""
    column: str
    stored: object
    recomputed: object
    reason: str = ""
    is_since: bool = False
    """Whether the run itself may be sound: what is here now is not what it was made with."""

    @property
    def text(self) -> str:
        """The fault in a line."""
        cell = " ".join(part for part in (self.file, self.row, self.column) if part)
        has_values = not self.stored == self.recomputed == ""
        values = f"{self.stored!r}, recomputed {self.recomputed!r}" if has_values else ""
        return f"{cell}: {'; '.join(part for part in (values, self.reason) if part)}"

    def as_json(self) -> dict[str, Any]:
        """The fault as an item's part."""
        return {
            "file": self.file,
            "row": self.row,
            "column": self.column,
            "stored": _plain(self.stored),
            "recomputed": _plain(self.recomputed),
            "reason": self.reason,
            "changed_since": self.is_since,
        }


class Findings:
    """Cells of one run; each is counted once."""

    def __init__(self) -> None:
        self.checked = 0
        self.faults: list[Fault] = []
        self.unchecked: Counter[str] = Counter()
        """Why -> cells."""

    def cell(
        self,
        file: str,
        row: str,
        column: str,
        stored: object,
        recomputed: object,
        reason: str = "",
        is_since: bool = False,
    ) -> bool:
        """Compare a stored cell with its recomputed value; return whether it holds."""
        self.checked += 1
        if are_equal(stored, recomputed):
            return True
        self.faults.append(Fault(file, row, column, stored, recomputed, reason, is_since))
        return False

    def fault(
        self, file: str, row: str, column: str, stored: object, recomputed: object, reason: str = ""
    ) -> None:
        """Count something that should not exist, or does not and should."""
        self.checked += 1
        self.faults.append(Fault(file, row, column, stored, recomputed, reason))

    def skip(self, why: str, cells: int = 1) -> None:
        """Count cells that cannot be checked, with the reason."""
        if cells:
            self.unchecked[why] += cells


def are_equal(stored: object, recomputed: object) -> bool:
    """Whether two cells are equal; numbers up to rounding."""
    if isinstance(stored, float) and isinstance(recomputed, float):
        return math.isclose(stored, recomputed, rel_tol=NEAR, abs_tol=NOTHING)
    return stored == recomputed


def _plain(value: object) -> object:
    """A value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | list | dict):
        return value
    return str(value)
