"""Boards to draw: every method that has a card, at numbers like those of the mini edition."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text
from vlbench.leaderboard.board import Board

METHODS = {
    "full": ("full", 1_547_392, 148.5),
    "hyperformer": ("hyperformer", 222_656, 136.4),
    "low-rank-adapter": ("low_rank_adapter", 28_880, 128.0),
    "adapter-and-prompt": ("adapter+prompt", 120_304, 134.1),
    "shared-adapter": ("adapter", 86_000, 133.7),
    "compacter": ("compacter", 154_880, 133.2),
    "half-shared-adapter": ("adapter", 178_880, 132.5),
    "vl-pet-large": ("vl_pet", 83_440, 131.9),
    "vl-pet-small": ("vl_pet", 59_542, 131.2),
    "vl-pet-middle-x": ("vl_pet", 58_774, 130.8),
    "vl-pet-middle-y": ("vl_pet", 58_768, 130.5),
    "adapter": ("adapter", 276_800, 129.5),
    "lst": ("lst", 144_518, 127.5),
    "shared-compacter": ("compacter", 55_520, 126.7),
    "peft-dora": ("peft", 106_880, 121.0),
    "peft-lora": ("peft", 91_776, 120.2),
    "lora": ("lora", 323_584, 118.5),
    "shared-lora": ("lora", 102_400, 115.0),
    "peft-adalora": ("peft", 119_712, 112.3),
    "bitfit": ("bitfit", 28_672, 104.0),
    "norms": ("frozen", 22_400, 88.2),
    "peft-ln-tuning": ("peft", 22_400, 87.9),
    "prompt-tuning": ("prompt", 155_264, 84.6),
    "peft-ia3": ("peft", 23_424, 70.3),
    "shared-prompt-tuning": ("prompt", 52_352, 56.6),
    "blind": ("full", 1_547_392, 43.8),
    "frozen": ("frozen", 18_048, 30.2),
    "peft-vera": ("peft", 22_656, 28.5),
}
"""Technique, trainable parameters, average."""


def every_method(folder: Path, lift: float = 0.0, **others: Any) -> Board:
    """28 methods, three seeds each; `lift` raises the averages of what is no floor."""
    runs = []
    for number, (method, (technique, parameters, average)) in enumerate(METHODS.items()):
        centre = average + lift * (average > 50)
        facts = {
            "technique": technique,
            "trainable_parameters": parameters,
            "adapter_bytes": 4 * parameters + 2_000,
            "peak_memory_bytes": int(740e6 + 40e6 * math.sin(number)),
            "train_seconds": 105.0 + 15 * math.sin(2 * number),
        }
        spread = 1 + 4 * abs(math.sin(3 * number))
        runs += [
            image_text(method, *_tasks(centre + spread * (seed - 1)), seed=seed, **facts, **others)
            for seed in range(3)
        ]
    [board] = boards_of(folder, *runs)
    return board


def _tasks(average: float) -> tuple[float, float, float, float]:
    """Four tasks with that average."""
    return (0.65 * average, 0.55 * average, 0.5 * average, 2.3 * average)
