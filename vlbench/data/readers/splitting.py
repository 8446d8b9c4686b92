"""A seeded rule that splits examples by their pictures: no picture is in two splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence


def split_by_picture(
    images: Sequence[tuple[str, ...]], val_percent: float, test_percent: float, seed: int
) -> list[str]:
    """train, val or test for each example, of which `images` holds the pictures.

    Examples that share a picture, also through others, stay together. These groups are ordered by a
    hash of the seed and their first picture's name; what test has room for goes there, then to val.
    A share is at least the smallest group.
    """
    groups = _groups(images)
    sizes = Counter(groups)

    def rank(group: str) -> bytes:
        return hashlib.sha256(f"{seed} {group}".encode()).digest()

    room = {
        name: max(len(images) * percent / 100, min(sizes.values(), default=0))
        for name, percent in (("test", test_percent), ("val", val_percent))
    }
    split_of = {}
    for group in sorted(sizes, key=rank):
        split_of[group] = next((name for name in room if sizes[group] <= room[name]), "train")
        if split_of[group] in room:
            room[split_of[group]] -= sizes[group]
    return [split_of[group] for group in groups]


def _groups(images: Sequence[tuple[str, ...]]) -> list[str]:
    """The first by name of all pictures that an example is connected with (union-find)."""
    parents: dict[str, str] = {}

    def root(image: str) -> str:
        while (parent := parents.setdefault(image, image)) != image:
            parents[image] = image = parents[parent]
        return image

    for first, *others in images:
        for other in others:
            small, large = sorted((root(first), root(other)))
            parents[large] = small
    return [root(first) for first, *_ in images]
