"""A task ready to train: its examples, and its pictures' features in a store; or what it lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Literal

from vlbench.cards.schema import PARTS, Edition, TaskCard
from vlbench.data.example import first_lines
from vlbench.data.hashes import fingerprint
from vlbench.data.images import find_pictures, shared_pictures
from vlbench.data.pictures import Pictures, PictureSpec
from vlbench.data.readers import card_reader
from vlbench.data.readers.base import Reader, missing_data
from vlbench.data.stores.base import FixedFrames, Store, Union
from vlbench.data.stores.extract import ClipEncoder, extract
from vlbench.data.stores.published import open_store
from vlbench.data.table import ExampleTable, concatenate, indexed, limited
from vlbench.errors import DataError, MissingError

Say = Callable[[str], None]
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
    store: Store | Pictures
    """The features of its pictures, or for a chat model their files."""
    fingerprint: str
    """sha256 over annotations, pictures, and the encoder or a chat model's question."""

    def of(self, split: Literal["val", "test"]) -> ExampleTable:
        """The examples of a split that runs are scored on."""
        return self.val if split == "val" else self.test


def prepare(
    cards: Sequence[TaskCard],
    edition: Edition,
    root: Path,
    limit: int | None,
    spec: FeatureSpec | PictureSpec,
    say: Say = lambda _: None,
) -> list[PreparedTask]:
    """Read every task's splits and find its features or pictures.

    One error lists all tasks' missing files.
    """
    readers, missing = [], []
    for card in cards:
        reader = card_reader(card, root)
        readers.append(reader)
        missing += [
            f for split in scored_splits(card, edition) for f in reader.missing_files(split)
        ]
    if missing:
        raise missing_data(missing)
    pairs = zip(cards, readers, strict=True)
    return [_prepare(card, reader, edition, limit, spec, say) for card, reader in pairs]


def scored_splits(card: TaskCard, edition: Edition) -> list[str]:
    """The splits that a run trains on or scores."""
    splits = card.splits[edition]
    return list(dict.fromkeys([*splits.train, *splits.val, *splits.test]))


def _prepare(
    card: TaskCard,
    reader: Reader,
    edition: Edition,
    limit: int | None,
    spec: FeatureSpec | PictureSpec,
    say: Say,
) -> PreparedTask:
    splits = card.splits[edition]
    whole = [
        concatenate([indexed(reader, split, train=i == 0) for split in names])
        for i, names in enumerate((splits.train, splits.val, splits.test))
    ]
    if card.files and not card.files.may_share_pictures:
        _refuse_shared(card, reader, whole)
    train, val, test = (limited(table, limit) for table in whole)
    sizes = f"{len(train):,} training, {len(val):,} validation, {len(test):,} test examples"
    say(f"{card.name}: {sizes}")
    submission = concatenate([])
    if not limit and not any(map(reader.missing_files, splits.submission)):
        submission = concatenate([indexed(reader, s, train=False) for s in splits.submission])
        if submission and (missing := find_visuals(card, reader, submission, spec)[2]):
            say(f"{card.name}: no submission file will be written: {missing[0]}")
            submission = concatenate([])
    scored = concatenate([train, val, test])
    store = _visuals(card, reader, concatenate([scored, submission]), spec, say)
    files = {file for split in scored_splits(card, edition) for file in reader.files(split)}
    parts = fingerprint(files, reader.folder) + store.fingerprint(scored.images())
    parts += card.question if isinstance(spec, PictureSpec) else ""
    together = hashlib.sha256(parts.encode()).hexdigest()
    return PreparedTask(card, train, val, test, submission, store, together)


def _refuse_shared(card: TaskCard, reader: Reader, tables: Sequence[ExampleTable]) -> None:
    """DataError where two splits of your own data show the same picture."""
    images = {split: table.images() for split, table in zip(PARTS, tables, strict=True)}
    if shared := [text for texts in shared_pictures(reader, images).values() for text in texts]:
        raise DataError(
            f"{card.shown}: the same picture is in two splits: {'; '.join(first_lines(shared))}: "
            "leave it out of one, or say in [files] that it is meant: may_share_pictures = true"
        )


def _visuals(
    card: TaskCard,
    reader: Reader,
    examples: ExampleTable,
    spec: FeatureSpec | PictureSpec,
    say: Say,
) -> Store | Pictures:
    """The pictures of the examples, or their features: stores that exist, else the encoder runs."""
    store, pictures, problems = find_visuals(card, reader, examples, spec)
    if problems:
        lines = "".join(f"\n  {line}" for line in first_lines(problems))
        lacking = "features" if isinstance(spec, FeatureSpec) else "pictures"
        raise MissingError(f"Task '{card.name}' lacks {lacking}:{lines}")
    if isinstance(spec, FeatureSpec) and store is not None:
        return FixedFrames(store, spec.tokens) if card.visual == "video" else store
    return read_visuals(card, pictures, spec, say=say)


def read_visuals(
    card: TaskCard,
    pictures: Mapping[str, Path],
    spec: FeatureSpec | PictureSpec,
    folder: Path | None = None,
    say: Say = lambda _: None,
) -> Store | Pictures:
    """The pictures or clips of a task themselves, or their features in a new store in `folder`.

    Without a folder the store is in the cache.
    """
    if isinstance(spec, PictureSpec):
        return Pictures(pictures, spec.frames)
    say(f"{card.name}: features of {len(pictures):,} pictures or clips, by '{spec.encoder}'")
    is_video = card.visual == "video"
    encoder = ClipEncoder(spec.load(), spec.tokens) if is_video else spec.load()
    return extract(encoder, pictures, folder, say=say)


def find_visuals(
    card: TaskCard, reader: Reader, examples: ExampleTable, spec: FeatureSpec | PictureSpec
) -> tuple[Store | None, dict[str, Path], list[str]]:
    """The features of the examples, else the pictures to make them of, and what is missing."""
    if isinstance(spec, PictureSpec):
        pictures, faults = find_pictures(reader, examples)
        return None, pictures, faults.texts
    store, places = _find_store(reader, spec)
    if store is not None:
        images = examples.images()
        missing = [f"no features of {image} in {store.path}" for image in store.missing(images)]
        if not missing and card.visual == "image":
            missing += _pooling_faults(store.path, store.load(images[0]).shape[0], spec.tokens)
        return store, {}, missing
    kind = " --kind frames" * (card.visual == "video") + " --by-path" * bool(card.files)
    advice = (
        f"no features of the encoder '{spec.encoder}' in {', '.join(map(str, places)) or 'a store'}"
        "; they are made where the pictures are: vlbench data extract-features --encoder "
        f"{spec.encoder} --images DIR{kind} --out {places[0] if places else 'STORE'}"
    )
    try:
        encoder = spec.load()
    except MissingError as error:
        return None, {}, [str(error), advice]
    unfit = _pooling_faults(spec.encoder, encoder.tokens, spec.tokens)
    if unfit and card.visual == "image":
        return None, {}, unfit
    pictures, faults = find_pictures(reader, examples)
    return None, pictures, faults.texts if pictures else [advice, *faults.texts]


def _pooling_faults(source: object, stored: int, read: int) -> list[str]:
    """Why so many features of a picture cannot be pooled to what the backbone reads, if so."""
    are_squares = isqrt(stored) ** 2 == stored and isqrt(read) ** 2 == read
    if stored == read or (are_squares and stored > read):
        return []
    words = f"the {read} of the backbone: both must be squares, the first larger"
    return [f"{source}: {stored} tokens cannot be pooled to {words}"]


def _find_store(reader: Reader, spec: FeatureSpec) -> tuple[Store | None, list[Path]]:
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
            held = f"features of the encoder '{store.encoder}'"
            raise MissingError(f"{path}: holds {held}, the run reads '{spec.encoder}'.")
        if spec.width not in (None, store.width):
            held = f"features of width {store.width}"
            raise MissingError(f"{path}: holds {held}, the backbone reads {spec.width}.")
    return (Union(stores) if len(stores) > 1 else next(iter(stores), None)), paths


def feature_places(reader: Reader, encoder: str) -> list[Path]:
    """Where features of this encoder for a dataset may lie, our own layout first."""
    names = {**AUTHORS_NAMES, **reader.authors_names}
    return [
        reader.root / path.format(encoder=encoder, authors=names.get(encoder))
        for path in reader.feature_places
        if "{authors}" not in path or encoder in names
    ]
