"""Copies of a value of JSON with one field left out, or with another value in its place."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

WRONG = (None, 3.5, "text", [], {}, [3], {"a": 3}, True)
"""What may stand in the place of a value."""


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value below this one stands; of a list only in the first element."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, below in inner:
        yield (*above, key)
        if isinstance(below, dict | list):
            yield from paths(below, (*above, key))


def spoilt(value: Any) -> Iterator[tuple[str, bool, Any]]:
    """The field, whether it is gone, and a copy of the value without it or with another one."""
    for path in paths(value):
        if not isinstance(path[-1], str):
            continue
        for wrong in ("left out", *WRONG):
            copy = deepcopy(value)
            place = copy
            for part in path[:-1]:
                place = place[part]
            if wrong == "left out":
                del place[path[-1]]
            else:
                place[path[-1]] = wrong
            yield path[-1], wrong == "left out", copy
