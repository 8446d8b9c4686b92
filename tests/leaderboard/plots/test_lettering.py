"""The room that text takes."""

from __future__ import annotations

import pytest

from vlbench.leaderboard.plots.lettering import cut, text_size, text_width, wrapped

TEXT = "Data: mini edition, complete: vqav2 7cca066b (1,920 examples), gqa 23b597ba"


def test_bold_and_larger_letters_take_more_room() -> None:
    assert text_width("full", 6) < text_width("full", 6, is_bold=True) < text_width("full", 8)
    assert text_width("a\nlonger", 6) == text_width("longer", 6)
    assert text_size("a\nb", 10)[1] == 2 * text_size("a", 10)[1]


@pytest.mark.parametrize("width", [60, 100, 200])
def test_lines_are_no_wider_than_asked_for_and_lose_nothing(width: float) -> None:
    lines = wrapped(TEXT, 6, width)
    assert " ".join(lines) == TEXT
    assert max(text_width(line, 6) for line in lines) <= width
    assert len(lines) > 1


def test_a_word_that_is_too_wide_is_broken() -> None:
    lines = wrapped(f"a {'params.reduction=4,' * 9} b", 6, 90)
    assert "".join(lines) == f"a{'params.reduction=4,' * 9} b"
    assert max(text_width(line, 6) for line in lines) <= 90


def test_what_is_cut_fits_and_says_so() -> None:
    assert cut("full", 6, 100) == "full"
    short = cut(TEXT, 6, 100)
    assert text_width(short, 6) <= 100
    assert short.endswith("…")
    assert TEXT.startswith(short[:-1])
