"""`--limit`: a small sample that keeps the shares of the question families."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random

from vlbench.data.table import ExampleTable

SEED = 20220619
"""The same sample for every method and seed."""


def limited(examples: ExampleTable, limit: int | None) -> ExampleTable:
    """At most `limit` examples, drawn family by family in proportion, in their old order."""
    if limit is None or len(examples) <= limit:
        return examples
    return examples.take(sample(examples.families(), limit))


def sample(families: Sequence[str], limit: int) -> list[int]:
    """The places of `limit` examples with these families."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, family in enumerate(families):
        members[family].append(index)
    random = Random(SEED)
    ranked: list[tuple[float, int]] = []
    for places in members.values():
        random.shuffle(places)
        ranked += [((rank + 0.5) / len(places), index) for rank, index in enumerate(places)]
    return sorted(index for _, index in sorted(ranked)[:limit])
