"""Keys of every card on every suite and backbone, with data and weights pretended.

A key that is not the recorded one means that finished runs are not found again, or that other runs
are taken for them. Where that is meant: `python -m tests.runs.test_golden_keys`.
"""

from __future__ import annotations

import json
from pathlib import Path

from vlbench.cards import find_methods, find_tasks
from vlbench.cards.load import all_backbones, all_methods, hashed
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.techniques import resolve_method

FILE = Path(__file__).with_name("golden_keys.json")
SUITES = ("image-text", "video-text")


def keys() -> dict[str, str]:
    """`method suite backbone` -> key."""
    found = {}
    for card in all_methods():
        for name in SUITES:
            suite, tasks = find_tasks(name)
            if card.suites and suite not in card.suites:
                continue
            for backbone_card in all_backbones():
                backbone = backbone_card.name
                spec = RunSpec(
                    method=resolve_method(card, backbone, suite, (), backbone_card.like),
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


def test_no_card_has_another_key_than_the_recorded_one() -> None:
    recorded = json.loads(FILE.read_text(encoding="utf-8"))
    found = keys()
    assert {name: key for name, key in found.items() if recorded.get(name) != key} == {}
    assert set(recorded) == set(found)
    assert len(set(found.values())) == len(found)


def test_the_committed_results_are_what_their_commands_would_find(project: Path) -> None:
    folders = RunFolder.all(project / "results/mini")
    assert folders
    for folder in folders:
        spec = RunSpec.read(folder.spec_file)  # which computes the key again
        assert spec.key == folder.path.name
        (card,) = find_methods((spec.method.name,))
        suite, tasks = find_tasks(spec.suite)
        assert hashed(resolve_method(card, spec.backbone, suite, spec.settings)) == hashed(
            spec.method
        )
        assert [hashed(task) for task in tasks] == [hashed(task) for task in spec.tasks]


if __name__ == "__main__":
    FILE.write_text(json.dumps(keys(), indent=0, sort_keys=True) + "\n", encoding="utf-8")
