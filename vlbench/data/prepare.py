"""A task ready to train: its examples read and checked, its pictures' features in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from vlbench.cards.schema import Edition, TaskCard
from vlbench.data.faults import first_lines
from vlbench.data.fingerprint import fingerprint
from vlbench.data.images import find_pictures, open_clip
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader, missing_data
from vlbench.data.stores.base import FixedFrames, Store, Union
from vlbench.data.stores.extract import ClipEncoder, store_for
from vlbench.data.stores.published import open_store
from vlbench.data.table import ExampleTable, concatenate, indexed, limited
from vlbench.errors import DataError, MissingError, UsageError
from vlbench.files import cache_folder

Say = Callable[[str], None]
CLIPS_AT_ONCE = 4
"""Whose frames are held in memory together: a clip may have hundreds."""
AUTHORS_NAMES = {
    "clip-rn50": "RN50",
    "clip-rn101": "RN101",
    "clip-vit-b32": "ViT",
}
"""Encoder -> how the authors' feature folders spell it: `data_clip_RN101_att`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The features that a backbone reads."""

    encoder: str
    tokens: int
    """Of a picture at the most, or frames of a clip."""
    width: int | None
    """None: whatever the encoder makes; the visual embedding is new then."""
    load: Callable[[], Any]
    """The encoder with its weights; called only where no store exists."""
    folders: tuple[Path, ...] = ()
    """Stores that the user names: nothing else is looked at then."""


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
    """Read every task's splits and find its features; one error lists all tasks' missing files."""
    readers = []
    for card in cards:
        if edition not in card.splits:
            raise UsageError(
                f"Task '{card.name}' has no edition '{edition}'. Known: {', '.join(card.splits)}."
            )
        readers.append((card, load_reader(card.reader, root)))
    missing = [
        file
        for card, reader in readers
        for split in scored_splits(card, edition)
        for file in reader.missing_files(split)
    ]
    if missing:
        raise missing_data(missing)
    return [_prepare(card, reader, edition, limit, wanted, say) for card, reader in readers]


def scored_splits(card: TaskCard, edition: Edition) -> list[str]:
    """The splits that a run trains on or scores."""
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
    counts = every.image_counts()
    wrong = np.flatnonzero(counts != card.images_per_example)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"Task '{card.name}': example {every[row].id} has {counts[row]} pictures, "
            f"its card says images_per_example = {card.images_per_example}."
        )
    store = visual_store(card, reader, every, wanted, say)
    files = {file for split in scored_splits(card, edition) for file in reader.files(split)}
    parts = [fingerprint(files, reader.folder), store.fingerprint(scored.images())]
    together = hashlib.sha256("".join(parts).encode()).hexdigest()
    return PreparedTask(card, train, val, test, submission, store, together)


def _submission(
    card: TaskCard, reader: Reader, splits: Sequence[str], wanted: Wanted, say: Say
) -> ExampleTable:
    """The examples of splits without labels; none where files or features are missing."""
    missing = [file for split in splits for file in reader.missing_files(split)]
    if missing:
        say(f"{card.name}: no submission file will be written, as {missing[0]} is not there")
        return concatenate([])
    examples = concatenate([indexed(reader, split, False) for split in splits])
    if lacking := _first_without_features(reader, examples, wanted):
        say(f"{card.name}: no submission file will be written, as there is no {lacking}")
        return concatenate([])
    if examples:
        say(f"{card.name}: {len(examples):,} examples to answer for a submission")
    return examples


def _first_without_features(reader: Reader, examples: ExampleTable, wanted: Wanted) -> str:
    """The first picture or clip that has neither features nor files; empty: none."""
    images = examples.images()
    store, _ = find_features(reader, wanted) if images else (None, [])
    if store is None:
        _, faults = find_pictures(reader, examples)
        return faults.texts[0] if faults.texts else ""
    return next((f"{image} in {store.path}" for image in store.missing(images)), "")


def visual_store(
    card: TaskCard, reader: Reader, examples: ExampleTable, wanted: Wanted, say: Say
) -> Store:
    """The features of the examples' pictures or clips: stores that exist, else the encoder runs.

    A MissingError names those that lack. A clip has exactly `wanted.tokens` frames.
    """
    is_video = card.visual == "video"
    unit = "clips" if is_video else "pictures"
    store, paths = find_features(reader, wanted)
    if store is not None:
        images = examples.images()
        if missing := store.missing(images):
            lines = "".join(f"\n  {line}" for line in first_lines(missing))
            raise MissingError(
                f"Task '{card.name}': no features of {len(missing):,} of {len(images):,} {unit} in "
                f"{store.path}:{lines}"
            )
        store.prepare(say)
        if not is_video and (wrong := wrong_grid(store, images[0], wanted)):
            raise MissingError(f"Task '{card.name}': {wrong[0]}")
        return FixedFrames(store, wanted.tokens) if is_video else store
    advice = _advice(card, wanted, paths)
    try:
        encoder = wanted.load()
    except MissingError as error:
        raise MissingError(f"{error}\n{advice}") from None
    pictures, faults = find_pictures(reader, examples)
    if not pictures:
        faults.texts.insert(0, advice)
    faults.refuse()

    def progress(done: int, total: int) -> None:
        if done == total or done % 4096 == 0:
            say(f"{card.name}: features of {done:,} of {total:,} {unit}")

    if is_video:
        clips = ClipEncoder(encoder, wanted.tokens)
        return store_for(clips, pictures, cache_folder(), CLIPS_AT_ONCE, progress, open_clip)
    return store_for(encoder, pictures, cache_folder(), progress=progress)


def wrong_grid(store: Store, image: str, wanted: Wanted) -> list[str]:
    """Why the tokens of a picture cannot be pooled to those that the backbone reads, if so."""
    stored, tokens = store.read(image).shape[0], wanted.tokens
    are_squares = isqrt(stored) ** 2 == stored and isqrt(tokens) ** 2 == tokens
    if stored == tokens or (are_squares and stored > tokens):
        return []
    return [
        f"{store.path}: {stored} tokens a picture cannot be pooled to the {tokens} that the "
        "backbone reads: both must be square grids, the first the larger."
    ]


def find_features(reader: Reader, wanted: Wanted) -> tuple[Store | None, list[Path]]:
    """The stores that exist as one, of the right encoder and width, or None; and all candidates."""
    paths = list(wanted.folders) or feature_places(reader, wanted.encoder)
    existing = [path for path in paths if path.exists()]
    if wanted.folders and len(existing) < len(paths):
        absent = next(path for path in paths if path not in existing)
        raise MissingError(f"--features {absent}: no such place.")
    stores = [open_store(path) for path in existing]
    for store in stores:
        is_right = store.encoder in (None, wanted.encoder)
        # An encoder of the user's has a name beside its `module:function`.
        if not is_right and not (":" in wanted.encoder and store.encoder == wanted.load().name):
            raise MissingError(
                f"{store.path}: holds features of the encoder '{store.encoder}', the run reads "
                f"'{wanted.encoder}'."
            )
        if wanted.width is not None and store.width != wanted.width:
            raise MissingError(
                f"{store.path}: holds features of width {store.width}, the backbone reads "
                f"{wanted.width}."
            )
    return (Union(stores) if len(stores) > 1 else next(iter(stores), None)), paths


def feature_places(reader: Reader, encoder: str) -> list[Path]:
    """Where features of this encoder for a dataset may lie, our own layout first."""
    names = {**AUTHORS_NAMES, **reader.authors_names}
    return [
        reader.root / path.format(encoder=encoder, authors=names.get(encoder))
        for path in reader.feature_places
        if "{authors}" not in path or encoder in names
    ]


def _advice(card: TaskCard, wanted: Wanted, paths: list[Path]) -> str:
    looked_for = "".join(f"\n  {path}" for path in paths)
    kind = " --kind frames" if card.visual == "video" else ""
    return (
        f"Task '{card.name}': no features of the encoder '{wanted.encoder}'; looked for:"
        f"{looked_for or ' none'}\nThey are made where the pictures are: vlbench data "
        f"extract-features --encoder {wanted.encoder} --images DIR{kind} --out "
        f"{paths[0] if paths else 'STORE'}"
    )
