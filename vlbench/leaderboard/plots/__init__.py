"""Plots of a leaderboard: what a method costs against what it scores, and how it trained."""

from __future__ import annotations

from enum import StrEnum


class Quantity(StrEnum):
    """The training loss by step, or the main metrics on the validation split by epoch."""

    LOSS = "loss"
    VALIDATION = "validation"

    @property
    def heading(self) -> str:
        """What a title calls it."""
        return "training loss" if self is Quantity.LOSS else "validation split"
