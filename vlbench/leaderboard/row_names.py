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

from vlbench.cards.files import is_path, known_names
from vlbench.errors import UsageError, nearest
from vlbench.leaderboard.summary import Board, Row, split_overrides

KEY = r"[0-9a-f]{6,}"
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
        """The name as its method's card calls it: `single-adapter` is `shared-adapter`."""
        method, _, details = text.strip().partition(":")
        spelt = method.strip()
        return cls(text, spelt, _method(spelt), frozenset(split_overrides(details)))

    @classmethod
    def of(cls, row: Row) -> RowName:
        """The name that only this method, with these settings and weights, answers to."""
        details = row_details(row) - {f"card={row.card}"}
        return cls(row.label, row.method, row.method, details, is_exact=True)

    def find(self, board: Board) -> Row | None:
        """The row of the board, None where there is none; UsageError where several answer."""
        is_there = any(row.method == self.spelt for row in board.rows)
        method = self.spelt if is_there else self.method
        found = [row for row in board.rows if self._is_of(row, method)]
        exact = [row for row in found if self.details == row_details(row)]
        found = exact or found
        if len(found) > 1:
            names = "\n".join(f"  {quote(name)}" for name in _told_apart(found))
            raise UsageError(f"'{self.text}' names {len(found)} rows; type one of:\n{names}")
        return found[0] if found else None

    def _is_of(self, row: Row, method: str) -> bool:
        if self._is_key_of(row):
            return True
        there = row_details(row)
        if self.is_exact and self.details != there - {f"card={row.card}"}:
            return False
        return row.method == method and all(_is_among(each, there) for each in self.details)

    def _is_key_of(self, row: Row) -> bool:
        is_key = re.fullmatch(KEY, self.text) and not self.is_exact
        return bool(is_key) and any(key.startswith(self.text) for key in row.runs.values())


def find_in(name: RowName, boards: Sequence[Board]) -> list[tuple[Board, Row]]:
    """The row in each board that has one; UsageError where nothing of that name is known."""
    found = [(board, row) for board in boards if (row := name.find(board)) is not None]
    rows = [row for board in boards for row in board.rows]
    methods = {row.method for row in rows}
    if not found and not {name.method, name.spelt} & {*known_names("methods"), *methods}:
        raise UsageError(
            f"'{name.text}' names no row: neither a method nor the key of a run. "
            f"{nearest(name.text, {*methods, *map(typed, rows)})}"
        )
    return found


def row_details(row: Row) -> frozenset[str]:
    """What tells the row from others of its method, as one types it."""
    return row.overrides | ({f"card={row.card}"} if row.card else set())


def typed(row: Row) -> str:
    """What to type for the row: its name, or a run's key where the name has a colon itself."""
    parts = sorted(row_details(row))
    name = f"{row.method}:{','.join(parts)}" if parts else row.method
    return _key(row) or name if ":" in row.method else name


def _told_apart(rows: Sequence[Row]) -> list[str]:
    """What to type for each of several rows."""
    names = [typed(row) for row in rows]
    is_one = len(set(names)) == len(names)
    return names if is_one else [_key(row) or typed(row) for row in rows]


def _key(row: Row) -> str:
    return next(iter(row.runs.values()), "")


def _method(name: str) -> str:
    if is_path(name):
        return Path(name).stem
    cards = known_names("methods")
    return cards[name].name if name in cards else name


def _is_among(wanted: str, there: frozenset[str]) -> bool:
    """Whether a detail is there; hashes need only begin so."""
    if wanted.startswith(("from=", "card=")):
        return any(each.startswith(wanted) for each in there)
    return wanted in there
