"""Numbers as tables print them."""

from __future__ import annotations

import pytest

from vlbench.leaderboard.numbers import MINUS, deviation, number, percent, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.44, "+0.4"), (-0.44, f"{MINUS}0.4"), (0.04, "0.0"), (-0.04, "0.0"), (1234.5, "+1,234.5")],
)
def test_a_difference_has_a_sign_unless_it_rounds_to_nothing(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(100.0, "100.00"), (5.338, "5.34"), (0.0123, "0.012"), (0.0, "0.00")]
)
def test_a_small_percentage_shows_two_digits(value: float, text: str) -> None:
    assert percent(value) == text


def test_what_is_not_there_is_a_dash_or_nothing() -> None:
    assert (number(None), percent(None), deviation(None)) == ("—", "—", "")
