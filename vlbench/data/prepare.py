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
from vlbench.data.example import first_lines
from vlbench.data.images import find_pictures, open_clip
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader, missing_data
from vlbench.data.stores.base import FixedFrames, Store, Union
from vlbench.data.stores.extract import ClipEncoder, store_for
from vlbench.data.stores.published import open_store
from vlbench.data.table import ExampleTable, concatenate, fingerprint, indexed, limited
from vlbench.errors import DataError, MissingError, UsageError
from vlbench.files import cache_folder

Say = Callable[[str], None]
CLIPS_AT_ONCE = 4  # whose frames are held in memory together: a clip may have hundreds
AUTHORS_NAMES = {"clip-rn50": "RN50", "clip-rn101": "RN101", "clip-vit-b32": "ViT"}
"""Encoder -> how the authors' feature folders spell it: `data_clip_RN101_att`."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The features that a backbone reads."""

    encoder: str
    tokens: int  # of a picture at the most, or frames of a clip
    width: int | None  # None: whatever the encoder makes; the visual embedding is new then
    load: Callable[[], Any]  # the encoder with its weights; called only where no store exists
    folders: tuple[Path, ...] = ()  # stores that the user names: nothing else is looked at then


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
    fingerprint: str  # sha256 over the annotation files, the pictures and the encoder


def prepare(
    cards: Sequence[TaskCard],
    edition: Edition,
    root: Path,
    limit: int | None,
    spec: FeatureSpec,
    say: Say = lambda _: None,
) -> list[PreparedTask]:
    """Read every task's splits and find its features; one error lists all tasks' missing files."""
    readers, missing = [], []
    for card in cards:
        if edition not in card.splits:
            raise UsageError(
                f"Task '{card.name}' has no edition '{edition}'. Known: {', '.join(card.splits)}."
            )
        readers.append(load_reader(card.reader, root))
        for split in scored_splits(card, edition):
            missing += readers[-1].missing_files(split)
    if missing:
        raise missing_data(missing)
    return [
        _prepare(card, reader, edition, limit, spec, say)
        for card, reader in zip(cards, readers, strict=True)
    ]


def scored_splits(card: TaskCard, edition: Edition) -> list[str]:
    """The splits that a run trains on or scores."""
    splits = card.splits[edition]
    return list(dict.fromkeys([*splits.train, *splits.val, *splits.test]))


def _prepare(
    card: TaskCard,
    reader: Reader,
    edition: Edition,
    limit: int | None,
    spec: FeatureSpec,
    say: Say,
) -> PreparedTask:
    splits = card.splits[edition]
    train, val, test = (
        limited(concatenate([indexed(reader, split, train=i == 0) for split in names]), limit)
        for i, names in enumerate((splits.train, splits.val, splits.test))
    )
    sizes = f"{len(train):,} training, {len(val):,} validation, {len(test):,} test examples"
    say(f"{card.name}: {sizes}")
    submission = _submission(card, reader, () if limit else splits.submission, spec, say)
    scored = concatenate([train, val, test])
    examples = concatenate([scored, submission])
    counts = examples.image_counts()
    if wrong := np.flatnonzero(counts != card.images_per_example).tolist():
        raise DataError(
            f"Task '{card.name}': example {examples[wrong[0]].id} has {counts[wrong[0]]} pictures, "
            f"its card says images_per_example = {card.images_per_example}."
        )
    store = _features(card, reader, examples, spec, say)
    files = {file for split in scored_splits(card, edition) for file in reader.files(split)}
    parts = fingerprint(files, reader.folder) + store.fingerprint(scored.images())
    together = hashlib.sha256(parts.encode()).hexdigest()
    return PreparedTask(card, train, val, test, submission, store, together)


def _submission(
    card: TaskCard, reader: Reader, splits: Sequence[str], spec: FeatureSpec, say: Say
) -> ExampleTable:
    """The examples of splits without labels; none where files or features are missing."""
    missing = [str(file) for split in splits for file in reader.missing_files(split)]
    examples = concatenate([] if missing else [indexed(reader, split, False) for split in splits])
    if examples:
        store, _ = find_features(reader, spec)
        if store is None:
            missing = find_pictures(reader, examples)[1].texts
        else:
            missing = [f"{image} in {store.path}" for image in store.missing(examples.images())]
    if missing:
        say(f"{card.name}: no submission file will be written, as there is no {missing[0]}")
        return concatenate([])
    if examples:
        say(f"{card.name}: {len(examples):,} examples to answer for a submission")
    return examples


def _features(
    card: TaskCard, reader: Reader, examples: ExampleTable, spec: FeatureSpec, say: Say
) -> Store:
    """The features of the examples' pictures or clips: stores that exist, else the encoder runs.

    A MissingError names those that lack. A clip has exactly `spec.tokens` frames.
    """
    is_video = card.visual == "video"
    unit = "clips" if is_video else "pictures"
    store, paths = find_features(reader, spec)
    if store is not None:
        images = examples.images()
        if missing := store.missing(images):
            lines = "".join(f"\n  {line}" for line in first_lines(missing))
            raise MissingError(
                f"Task '{card.name}': no features of {len(missing):,} of {len(images):,} {unit} in "
                f"{store.path}:{lines}"
            )
        store.prepare(say)
        if is_video:
            return FixedFrames(store, spec.tokens)
        require_grid(store, images[0], spec)
        return store
    looked_for = "".join(f"\n  {path}" for path in paths) or " none"
    advice = (
        f"Task '{card.name}': no features of the encoder '{spec.encoder}'; looked for:"
        f"{looked_for}\nThey are made where the pictures are: vlbench data extract-features "
        f"--encoder {spec.encoder} --images DIR"
        f"{' --kind frames' * is_video} --out {paths[0] if paths else 'STORE'}"
    )
    try:
        encoder = spec.load()
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
        clips = ClipEncoder(encoder, spec.tokens)
        return store_for(clips, pictures, cache_folder(), CLIPS_AT_ONCE, progress, open_clip)
    return store_for(encoder, pictures, cache_folder(), progress=progress)


def require_grid(store: Store, image: str, spec: FeatureSpec) -> None:
    """Raise MissingError where a picture's tokens cannot be pooled to what the backbone reads."""
    stored, tokens = store.read(image).shape[0], spec.tokens
    are_squares = isqrt(stored) ** 2 == stored and isqrt(tokens) ** 2 == tokens
    if stored != tokens and not (are_squares and stored > tokens):
        raise MissingError(
            f"{store.path}: {stored} tokens a picture cannot be pooled to the {tokens} that the "
            "backbone reads: both must be square grids, the first the larger."
        )


def find_features(reader: Reader, spec: FeatureSpec) -> tuple[Store | None, list[Path]]:
    """The stores that exist as one, of the right encoder and width, or None; and all candidates."""
    paths = list(spec.folders) or feature_places(reader, spec.encoder)
    stores = []
    for path in paths:
        if not path.exists():
            if spec.folders:
                raise MissingError(f"--features {path}: no such file or folder.")
            continue
        store = open_store(path)
        stores.append(store)
        # An encoder of the user's has a name beside its `module:function`.
        if store.encoder not in (None, spec.encoder) and not (
            ":" in spec.encoder and store.encoder == spec.load().name
        ):
            raise MissingError(
                f"{path}: holds features of the encoder '{store.encoder}', the run reads "
                f"'{spec.encoder}'."
            )
        if spec.width not in (None, store.width):
            raise MissingError(
                f"{path}: holds features of width {store.width}, the backbone reads {spec.width}."
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
