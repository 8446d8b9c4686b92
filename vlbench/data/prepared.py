"""A task ready to train: its examples read and checked, its pictures' features in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlbench.cards.task import Edition, TaskCard
from vlbench.data.check import require_files
from vlbench.data.example import Example
from vlbench.data.fingerprint import fingerprint
from vlbench.data.limit import limited
from vlbench.data.pictures import image_ids
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader
from vlbench.data.stores.base import Store
from vlbench.data.visual import Wanted, visual_store
from vlbench.errors import DataError, UsageError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """Everything of a task that training and evaluation read."""

    card: TaskCard
    train: list[Example]
    val: list[Example]
    test: list[Example]
    submission: list[Example]
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
    train = limited([e for split in splits.train for e in reader.read_train(split)], limit)
    val = limited([e for split in splits.val for e in reader.read(split)], limit)
    test = limited([e for split in splits.test for e in reader.read(split)], limit)
    sizes = f"{len(train):,} training, {len(val):,} validation, {len(test):,} test examples"
    say(f"{card.name}: {sizes}")
    submission = [] if limit else _submission(card, reader, splits.submission, say)
    _require_pictures(card, (*train, *val, *test, *submission))
    store = visual_store(card, reader, [*train, *val, *test, *submission], wanted, say)
    files = {file for split in _splits(card, edition) for file in reader.files(split)}
    scored = image_ids([*train, *val, *test])
    parts = [fingerprint(files, reader.folder), store.fingerprint(scored)]
    together = hashlib.sha256("".join(parts).encode()).hexdigest()
    return PreparedTask(card, train, val, test, submission, store, together)


def _submission(card: TaskCard, reader: Reader, splits: Sequence[str], say: Say) -> list[Example]:
    """The examples of splits without labels; none where their files are not there."""
    missing = [file for split in splits for file in reader.missing_files(split)]
    if missing:
        say(f"{card.name}: no submission file will be written, as {missing[0]} is not there")
        return []
    found = [example for split in splits for example in reader.read(split)]
    if found:
        say(f"{card.name}: {len(found):,} examples to answer for a submission")
    return found


def _require_pictures(card: TaskCard, examples: Sequence[Example]) -> None:
    """Refuse an example with another number of pictures than the card says."""
    for example in examples:
        if len(example.images) != card.images_per_example:
            raise DataError(
                f"Task '{card.name}': example {example.id} has {len(example.images)} pictures, "
                f"its card says images_per_example = {card.images_per_example}."
            )
