"""Which row of a board a user means: `compacter`, `compacter:params.reduction=4`, or a run's key.

Behind the colon stands what tells the row from others of its method, as much of it as is needed and
in any order: `--set` overrides, `from=` with the first digits of the weights it started from,
`card=` with the version of its cards. What matches exactly wins: `compacter` is the card as is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from vlbench.cards.load import is_path, known_names
from vlbench.errors import UsageError, nearest
from vlbench.leaderboard.board import Board, Row, split_overrides

KEY = re.compile(r"[0-9a-f]{6,}")
"""A run's key, or the beginning of one."""


@dataclass(frozen=True)
class RowName:
    """What a user typed, taken apart."""

    text: str
    spelt: str
    """The method as it was typed; results may have that name."""
    method: str
    """The method as its card calls it."""
    details: frozenset[str]
    is_exact: bool = False
    """Whether a row with further details is another one."""

    @classmethod
    def parse(cls, text: str) -> RowName:
        """Parse a name; its method is the card's, `shared-adapter` for `single-adapter`."""
        method, _, details = text.strip().partition(":")
        spelt = method.strip()
        cards = known_names("methods")
        name = (
            Path(spelt).stem if is_path(spelt) else cards[spelt].name if spelt in cards else spelt
        )
        return cls(text, spelt, name, frozenset(split_overrides(details)))

    @classmethod
    def of(cls, row: Row) -> RowName:
        """Make the name that only this method, with these settings and weights, answers to."""
        return cls(row.label, row.method, row.method, _uncarded(row), is_exact=True)

    def find(self, board: Board) -> Row | None:
        """Find the row of the board, None where there is none; UsageError where several answer."""
        method = self.spelt if any(row.method == self.spelt for row in board.rows) else self.method
        rows = [row for row in board.rows if self._is_of(row, method)]
        rows = [row for row in rows if self.details == row_details(row)] or rows
        if len(rows) > 1:
            names = [typed(row) for row in rows]
            if len(set(names)) < len(names):
                names = [_key(row) or typed(row) for row in rows]
            text = "\n".join(f"  {quote(name)}" for name in names)
            raise UsageError(f"'{self.text}' names {len(rows)} rows; type one of:\n{text}")
        return rows[0] if rows else None

    def _is_of(self, row: Row, method: str) -> bool:
        if self.is_exact:
            return row.method == method and self.details == _uncarded(row)
        if KEY.fullmatch(self.text) and any(key.startswith(self.text) for key in row.runs.values()):
            return True
        known = row_details(row)
        return row.method == method and all(
            any(other.startswith(detail) for other in known)
            if detail.startswith(("from=", "card="))  # hashes need only begin so
            else detail in known
            for detail in self.details
        )


def find_in(name: RowName, boards: Sequence[Board]) -> list[tuple[Board, Row]]:
    """Find the row in each board that has one; UsageError where nothing of that name is known."""
    pairs = [(board, row) for board in boards if (row := name.find(board)) is not None]
    rows = [row for board in boards for row in board.rows]
    methods = {row.method for row in rows}
    if not pairs and not {name.method, name.spelt} & {*known_names("methods"), *methods}:
        raise UsageError(
            f"'{name.text}' names no row: neither a method nor the key of a run. "
            f"{nearest(name.text, {*methods, *map(typed, rows)})}"
        )
    return pairs


def row_details(row: Row) -> frozenset[str]:
    """Return what tells the row from others of its method, as one types it."""
    return row.overrides | ({f"card={row.card}"} if row.card else set())


def typed(row: Row) -> str:
    """Return what to type for the row: its name, or a run's key where the name has a colon."""
    parts = sorted(row_details(row))
    name = f"{row.method}:{','.join(parts)}" if parts else row.method
    return _key(row) or name if ":" in row.method else name


def _uncarded(row: Row) -> frozenset[str]:
    return row_details(row) - {f"card={row.card}"}


def _key(row: Row) -> str:
    return next(iter(row.runs.values()), "")
