"""A task ready to train: its examples read and checked, its pictures' features in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlbench.cards.task import Edition, TaskCard
from vlbench.data.cache import cache_folder
from vlbench.data.check import image_paths, require_files
from vlbench.data.example import Example
from vlbench.data.extract import Encoder, store_for
from vlbench.data.features import FeatureStore
from vlbench.data.fingerprint import fingerprint
from vlbench.data.limit import limited
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader
from vlbench.errors import DataError, UsageError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """Everything of a task that training and evaluation read."""

    card: TaskCard
    train: list[Example]
    val: list[Example]
    test: list[Example]
    store: FeatureStore
    fingerprint: str
    """sha256 over the annotation files, the pictures and the encoder."""


def prepare(
    cards: Sequence[TaskCard],
    edition: Edition,
    root: Path,
    limit: int | None,
    encoder: Encoder,
    say: Say = lambda _: None,
) -> list[PreparedTask]:
    """Read every task's splits; missing files of all tasks come in one message."""
    readers = []
    for card in cards:
        if edition not in card.splits:
            raise UsageError(
                f"Task '{card.name}' has no edition '{edition}'. Known: {', '.join(card.splits)}."
            )
        readers.append(load_reader(card.reader, root))
    require_files(
        [
            (reader, split)
            for card, reader in zip(cards, readers, strict=True)
            for split in _splits(card, edition)
        ]
    )
    return [
        _prepare(card, reader, edition, limit, encoder, say)
        for card, reader in zip(cards, readers, strict=True)
    ]


def _splits(card: TaskCard, edition: Edition) -> list[str]:
    splits = card.splits[edition]
    return list(dict.fromkeys([*splits.train, *splits.val, *splits.test]))


def _prepare(
    card: TaskCard, reader: Reader, edition: Edition, limit: int | None, encoder: Encoder, say: Say
) -> PreparedTask:
    splits = card.splits[edition]
    train = limited([e for split in splits.train for e in reader.read_train(split)], limit)
    val = limited([e for split in splits.val for e in reader.read(split)], limit)
    test = limited([e for split in splits.test for e in reader.read(split)], limit)
    sizes = f"{len(train):,} training, {len(val):,} validation, {len(test):,} test examples"
    say(f"{card.name}: {sizes}")
    for example in (*train, *val, *test):
        if len(example.images) != card.images_per_example:
            raise DataError(
                f"Task '{card.name}': example {example.id} has {len(example.images)} pictures, "
                f"its card says images_per_example = {card.images_per_example}."
            )
    images = image_paths(reader, [*train, *val, *test])
    store = store_for(
        encoder,
        images,
        cache_folder(),
        progress=lambda done, of: (
            say(f"{card.name}: features of {done:,} of {of:,} pictures")
            if done == of or done % 4096 == 0
            else None
        ),
    )
    files = {file for split in _splits(card, edition) for file in reader.files(split)}
    parts = [fingerprint(files, reader.root), store.fingerprint(images)]
    return PreparedTask(
        card, train, val, test, store, hashlib.sha256("".join(parts).encode()).hexdigest()
    )
