"""What two runs of one cell have different, in words: why the older one is stale."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vlbench.cards.load import LATER, PROSE
from vlbench.config import leaves
from vlbench.running.spec import NOT_IN_KEY

Table = Mapping[str, Any]
BEFORE = {".".join(path): value for path, value in LATER.items()}
"""What a card without the key stands for."""
EMPTY: tuple[object, ...] = (None, "", [], {})
TOLD = {"schema", "key", "key_version", "method", "tasks", "data", "code"}
TOLD |= {"backbone_hash", "init_hash"}
"""Keys that have words of their own."""


def differences(old: Table, new: Table) -> list[str]:
    """What of two `spec.json` makes their keys differ; the older may be of an earlier version."""
    name = new["method"]["name"]
    return [
        *_values("key version", old.get("key_version"), new["key_version"]),
        *_card(new.get("method_file") or f"methods/{name}", old["method"], new["method"]),
        *_tasks(old, new),
        *(f"data of {task} changed" for task in _changed(old, new, "data")),
        *_hashes(old, new),
        *(f"code of {named} changed" for named in _changed(old, new, "code")),
        *_others(old, new),
    ]


def _tasks(old: Table, new: Table) -> Iterator[str]:
    before = {task["name"]: task for task in old["tasks"]}
    after = {task["name"]: task for task in new["tasks"]}
    if list(before) != list(after):
        yield f"tasks of {new['suite']}: {', '.join(before)} -> {', '.join(after)}"
    for name, card in after.items():
        if name in before:
            yield from _card(f"tasks/{name}", before[name], card)


def _card(shown: str, old: Table, new: Table) -> Iterator[str]:
    """`methods/compacter: params.reduction 8 -> 16`; what only explains a card is left out."""
    before, after = (
        dict(leaves({key: value for key, value in table.items() if key not in PROSE}))
        for table in (old, new)
    )
    for key in sorted(before.keys() | after.keys()):
        values = [table.get(key, BEFORE.get(key)) for table in (before, after)]
        yield from (f"{shown}: {text}" for text in _values(key, *values))


def _hashes(old: Table, new: Table) -> Iterator[str]:
    for key, what in (("backbone_hash", new["backbone"]), ("init_hash", new.get("init"))):
        if (old.get(key) or "") != (new.get(key) or ""):
            yield f"weights of {what} changed"


def _changed(old: Table, new: Table, key: str) -> list[str]:
    """The names that both have in the table `key`, with other values, and those one lacks."""
    before, after = old.get(key) or {}, new.get(key) or {}
    both = before.keys() | after.keys()
    if key == "data":  # of tasks that went or came the tasks tell
        both = before.keys() & after.keys()
    return sorted(name for name in both if before.get(name) != after.get(name))


def _others(old: Table, new: Table) -> Iterator[str]:
    for key in sorted((old.keys() | new.keys()) - TOLD - set(NOT_IN_KEY)):
        yield from _values(key, old.get(key), new.get(key))


def _values(name: str, old: object, new: object) -> Iterator[str]:
    """`name old -> new`, where they differ; an empty one is as none."""
    if old != new and (old not in EMPTY or new not in EMPTY):
        yield f"{name} {_spelt(old)} -> {_spelt(new)}"


def _spelt(value: object) -> str:
    return "none" if value in EMPTY else json.dumps(value, ensure_ascii=False)
