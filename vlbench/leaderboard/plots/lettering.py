"""How much room text takes on paper, and where its lines break. Lengths are in points."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from vlbench.leaderboard.plots.style import LINE_SPACING, SETTINGS

ELLIPSIS = "…"


@lru_cache(maxsize=10_000)
def text_width(text: str, size: float, is_bold: bool = False) -> float:
    """The width of the widest line."""
    font = FontProperties(
        family=SETTINGS["font.sans-serif"], size=size, weight="bold" if is_bold else "normal"
    )
    widths = (
        text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        for line in text.splitlines()
    )
    return float(max(widths, default=0.0))


def text_size(text: str, size: float, is_bold: bool = False) -> tuple[float, float]:
    """Width and height of text in lines."""
    return text_width(text, size, is_bold), len(text.splitlines()) * size * LINE_SPACING


def wrapped(text: str, size: float, width: float, is_bold: bool = False) -> list[str]:
    """The text in lines no wider than that; a word that is wider is broken."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, is_bold) <= width:
            lines[-1] = longer
            continue
        while text_width(word, size, is_bold) > width:
            head = _head(word, size, width, is_bold)
            lines.append(head)
            word = word[len(head) :]
        lines.append(word)
    return lines


def cut(text: str, size: float, width: float, is_bold: bool = False) -> str:
    """The text, its end left out where it is wider than that."""
    if text_width(text, size, is_bold) <= width:
        return text
    room = width - text_width(ELLIPSIS, size, is_bold)
    return _head(text, size, room, is_bold) + ELLIPSIS


def _head(text: str, size: float, width: float, is_bold: bool) -> str:
    """As many letters of the beginning as are no wider than that, at least one."""
    ends = range(1, len(text) + 1)
    end = bisect_right(ends, width, key=lambda end: text_width(text[:end], size, is_bold))
    return text[: max(1, end)]
