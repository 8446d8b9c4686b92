"""Keys of the cards as they are, and of the results that are committed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.runs.golden_keys import FILE, keys
from vlbench.cards import find_methods, find_tasks
from vlbench.cards.load import hashed
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.techniques import resolve_method


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
