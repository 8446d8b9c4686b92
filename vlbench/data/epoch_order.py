"""In which order an epoch goes through a task's examples; batches are cut from it one by one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

WINDOW = 50
"""Batches whose examples are sorted by length together: enough that little is padded, and few
enough that an epoch's order stays random."""

Places = NDArray[np.int64]


def by_chance(count: int, random: np.random.Generator) -> Places:
    """Every example in any place, as in the authors' code. (count,)."""
    return random.permutation(count)


def by_length(lengths: NDArray[np.int64], batch_size: int, random: np.random.Generator) -> Places:
    """Examples of like lengths in one batch, whole batches in any place. (count,).

    Chance says which examples share a window and which of equal length come first; the last batch,
    which may be smaller, stays the last.
    """
    order = random.permutation(len(lengths))
    found: list[Places] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = order[start : start + WINDOW * batch_size]
        window = window[np.argsort(lengths[window], kind="stable")]
        whole = len(window) - len(window) % batch_size
        batches = window[:whole].reshape(-1, batch_size)
        found += [random.permutation(batches).reshape(-1), window[whole:]]
    return np.concatenate(found) if found else order


def by_group(keys: Sequence[Hashable], random: np.random.Generator) -> Places:
    """Examples with one key side by side, in their own order, the groups in any place. (count,)."""
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    members = list(groups.values())
    places = [place for number in random.permutation(len(members)) for place in members[number]]
    return np.array(places, dtype=np.int64)
