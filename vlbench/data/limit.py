"""`--limit`: a small sample that keeps the shares of the question families."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random

from vlbench.data.example import Example

SEED = 20220619
"""The same sample for every method and seed."""


def limited(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most `limit` examples, drawn family by family in proportion, in their old order."""
    if limit is None or len(examples) <= limit:
        return list(examples)
    families: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        families[example.family].append(index)
    random = Random(SEED)
    ranked: list[tuple[float, int]] = []
    for members in families.values():
        random.shuffle(members)
        ranked += [((rank + 0.5) / len(members), index) for rank, index in enumerate(members)]
    return [examples[index] for index in sorted(index for _, index in sorted(ranked)[:limit])]
