"""A task ready to train: its examples read and checked, its pictures' features in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlbench.cards.schema import Edition, TaskCard
from vlbench.data.check import require_files
from vlbench.data.fingerprint import fingerprint
from vlbench.data.index import indexed
from vlbench.data.limit import limited
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader
from vlbench.data.stores.base import Store
from vlbench.data.table import ExampleTable, concatenate
from vlbench.data.visual import Wanted, unseen, visual_store
from vlbench.errors import DataError, UsageError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """Everything of a task that training and evaluation read."""

    card: TaskCard
    train: ExampleTable
    val: ExampleTable
    test: ExampleTable
    submission: ExampleTable
    """What is answered for the dataset's own server; its labels are not public."""
    store: Store
    fingerprint: str
    """sha256 over the annotation files, the pictures and the encoder."""


def prepare(
    cards: Sequence[TaskCard],
    edition: Edition,
    root: Path,
    limit: int | None,
    wanted: Wanted,
    say: Say = lambda _: None,
) -> list[PreparedTask]:
    """Read every task's splits, find its features; missing files of all tasks are told together."""
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
        _prepare(card, reader, edition, limit, wanted, say)
        for card, reader in zip(cards, readers, strict=True)
    ]


def _splits(card: TaskCard, edition: Edition) -> list[str]:
    splits = card.splits[edition]
    return list(dict.fromkeys([*splits.train, *splits.val, *splits.test]))


def _prepare(
    card: TaskCard, reader: Reader, edition: Edition, limit: int | None, wanted: Wanted, say: Say
) -> PreparedTask:
    splits = card.splits[edition]
    train = limited(concatenate([indexed(reader, split, True) for split in splits.train]), limit)
    val = limited(concatenate([indexed(reader, split, False) for split in splits.val]), limit)
    test = limited(concatenate([indexed(reader, split, False) for split in splits.test]), limit)
    sizes = f"{len(train):,} training, {len(val):,} validation, {len(test):,} test examples"
    say(f"{card.name}: {sizes}")
    submission = _submission(card, reader, () if limit else splits.submission, wanted, say)
    scored = concatenate([train, val, test])
    every = concatenate([scored, submission])
    _require_pictures(card, every)
    store = visual_store(card, reader, every, wanted, say)
    files = {file for split in _splits(card, edition) for file in reader.files(split)}
    parts = [fingerprint(files, reader.folder), store.fingerprint(scored.images())]
    together = hashlib.sha256("".join(parts).encode()).hexdigest()
    return PreparedTask(card, train, val, test, submission, store, together)


def _submission(
    card: TaskCard, reader: Reader, splits: Sequence[str], wanted: Wanted, say: Say
) -> ExampleTable:
    """The examples of splits without labels; none where files or features are not there."""
    missing = [file for split in splits for file in reader.missing_files(split)]
    if missing:
        say(f"{card.name}: no submission file will be written, as {missing[0]} is not there")
        return concatenate([])
    found = concatenate([indexed(reader, split, False) for split in splits])
    if lacking := unseen(reader, found, wanted):
        say(f"{card.name}: no submission file will be written, as there is no {lacking}")
        return concatenate([])
    if found:
        say(f"{card.name}: {len(found):,} examples to answer for a submission")
    return found


def _require_pictures(card: TaskCard, examples: ExampleTable) -> None:
    """Refuse an example with another number of pictures than the card says."""
    counts = examples.image_counts()
    wrong = np.flatnonzero(counts != card.images_per_example)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"Task '{card.name}': example {examples[row].id} has {counts[row]} pictures, "
            f"its card says images_per_example = {card.images_per_example}."
        )
