"""A comparison as text and as Markdown: its tables, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.leaderboard.compare_sheets import compare_sheets
from vlbench.leaderboard.compared import Pair
from vlbench.leaderboard.gate import Gate
from vlbench.leaderboard.markdown import escape
from vlbench.leaderboard.report import as_markdown, as_text
from vlbench.leaderboard.sheets import Sheet
from vlbench.text import printable_lines


def tables(pairs: Sequence[Pair], gate: Gate | None) -> list[Sheet]:
    """A table per place, with the gate's outcome."""
    return compare_sheets(pairs, gate.notes if gate else ())


def compare_text(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """Plain text."""
    return as_text(tables(pairs, gate)) or f"{printable_lines(reason)}\n"


def compare_markdown(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """Markdown."""
    lines = printable_lines(reason).splitlines()
    return as_markdown(tables(pairs, gate)) or "".join(f"{escape(line)}\n" for line in lines)
