"""What a picture of training can show."""

from __future__ import annotations

from enum import StrEnum


class Quantity(StrEnum):
    """The training loss by step, or the main metrics on the validation split by epoch."""

    LOSS = "loss"
    VALIDATION = "validation"

    @property
    def heading(self) -> str:
        """What a heading calls it."""
        return "training loss" if self is Quantity.LOSS else "validation split"
