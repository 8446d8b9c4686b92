"""Keys of every card on every suite and backbone, with data and weights pretended.

A key that is not the recorded one means that finished runs are not found again, or that other runs
are taken for them. Where that is meant, write the file anew: `python -m tests.runs.golden_keys`.
"""

from __future__ import annotations

import json
from pathlib import Path

from vlbench.backbones import BACKBONES
from vlbench.cards import find_tasks
from vlbench.cards.load import all_methods
from vlbench.runs.spec import RunSpec
from vlbench.techniques import resolve_method

FILE = Path(__file__).with_suffix(".json")
SUITES = ("image-text", "video-text")


def keys() -> dict[str, str]:
    """`method suite backbone` -> key."""
    found = {}
    for card in all_methods():
        for name in SUITES:
            suite, tasks = find_tasks(name)
            if card.suites and suite not in card.suites:
                continue
            for backbone in BACKBONES:
                spec = RunSpec(
                    method=resolve_method(card, backbone, suite),
                    suite=suite,
                    tasks=tuple(tasks),
                    backbone=backbone,
                    backbone_hash="b" * 64,
                    edition="mini",
                    root="",
                    data={task.name: "d" * 64 for task in tasks},
                    seed=0,
                )
                found[f"{card.name} {suite} {backbone}"] = spec.key
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(keys(), indent=0, sort_keys=True) + "\n", encoding="utf-8")
