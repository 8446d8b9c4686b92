"""Families of techniques: what a marker's shape says."""

from __future__ import annotations

from vlbench.leaderboard.summary import Row
from vlbench.techniques import JOINED_BY

FLOOR = "floor"
FULL = "all weights"
OTHER = "other technique"
FAMILIES = {
    "adapter": "adapters",
    "compacter": "adapters",
    "hyperformer": "adapters",
    "low_rank_adapter": "adapters",
    "vl_pet": "VL-PET",
    "lora": "low-rank updates",
    "prompt": "prompts",
    "bitfit": "some of the weights",
    "frozen": "some of the weights",
    "lst": "side network",
    "peft": "tuners of peft",
    "full": FULL,
}
"""The family of each technique; of outside code it is not known."""
COMBINED = "combined"
ORDER = (*dict.fromkeys(FAMILIES.values()), COMBINED, OTHER, FLOOR)
"""All of them, as a legend lists them."""


def family(row: Row) -> str:
    """The family of a row's technique; floors are one of their own."""
    if row.is_floor:
        return FLOOR
    technique = str(row.facts["technique"])
    return COMBINED if JOINED_BY in technique else FAMILIES.get(technique, OTHER)
