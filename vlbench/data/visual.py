"""Where a task's visual features come from: stores that are there, else the encoder itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from vlbench.cards.task import TaskCard
from vlbench.data.clips import ClipEncoder, FixedFrames, open_clip
from vlbench.data.extract import store_for
from vlbench.data.faults import SHOWN
from vlbench.data.pictures import find_pictures
from vlbench.data.readers.base import Reader
from vlbench.data.stores.base import Store
from vlbench.data.stores.opening import open_store
from vlbench.data.stores.union import Union
from vlbench.data.table import ExampleTable
from vlbench.errors import MissingError
from vlbench.files import cache_folder

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
    """The encoder with its weights; called only where no store is found."""
    folders: tuple[Path, ...] = ()
    """Stores that the user names: nothing else is looked at then."""


def visual_store(
    card: TaskCard,
    reader: Reader,
    examples: ExampleTable,
    wanted: Wanted,
    say: Callable[[str], None],
) -> Store:
    """The features of the examples' pictures or clips; a MissingError names those not there.

    A clip has exactly `wanted.tokens` frames then.
    """
    is_video = card.visual == "video"
    unit = "clips" if is_video else "pictures"
    store, places = find_features(reader, wanted)
    if store is not None:
        images = examples.images()
        _require_all(card, store, images, unit)
        store.prepare(say)
        if not is_video and (wrong := wrong_grid(store, images[0], wanted)):
            raise MissingError(f"Task '{card.name}': {wrong[0]}")
        return FixedFrames(store, wanted.tokens) if is_video else store
    try:
        encoder = wanted.load()
    except MissingError as error:
        raise MissingError(f"{error}\n{_advice(card, wanted, places)}") from None
    paths, faults = find_pictures(reader, examples)
    if not paths:
        faults.texts.insert(0, _advice(card, wanted, places))
    faults.refuse()

    def progress(done: int, total: int) -> None:
        if done == total or done % 4096 == 0:
            say(f"{card.name}: features of {done:,} of {total:,} {unit}")

    if is_video:
        clips = ClipEncoder(encoder, wanted.tokens)
        return store_for(clips, paths, cache_folder(), CLIPS_AT_ONCE, progress, open_clip)
    return store_for(encoder, paths, cache_folder(), progress=progress)


def unseen(reader: Reader, examples: ExampleTable, wanted: Wanted) -> str:
    """The first picture or clip of which there are neither features nor files; empty: none."""
    images = examples.images()
    store, _ = find_features(reader, wanted) if images else (None, [])
    if store is None:
        _, faults = find_pictures(reader, examples)
        return faults.texts[0] if faults.texts else ""
    return next((f"{image} in {store.path}" for image in store.missing(images)), "")


def wrong_grid(store: Store, image: str, wanted: Wanted) -> list[str]:
    """Why the tokens of a picture cannot be pooled to those that the backbone reads, if so."""
    found, tokens = store.read(image).shape[0], wanted.tokens
    squares = isqrt(found) ** 2 == found and isqrt(tokens) ** 2 == tokens
    if found == tokens or (squares and found > tokens):
        return []
    return [
        f"{store.path}: {found} tokens a picture cannot be pooled to the {tokens} that the "
        "backbone reads: both must be square grids, the first the larger."
    ]


def find_features(reader: Reader, wanted: Wanted) -> tuple[Store | None, list[Path]]:
    """The stores that are there as one, None where there is none; and where it was looked."""
    places = list(wanted.folders) or feature_places(reader, wanted.encoder)
    there = [place for place in places if place.exists()]
    if wanted.folders and len(there) < len(places):
        absent = next(place for place in places if place not in there)
        raise MissingError(f"--features {absent}: no such place.")
    return (_opened(there, wanted) if there else None), places


def feature_places(reader: Reader, encoder: str) -> list[Path]:
    """Where features of this encoder for a dataset may lie, our own layout first."""
    names = {**AUTHORS_NAMES, **reader.authors_names}
    return [
        reader.root / place.format(encoder=encoder, authors=names.get(encoder))
        for place in reader.feature_places
        if "{authors}" not in place or encoder in names
    ]


def _opened(there: list[Path], wanted: Wanted) -> Store:
    """The stores as one, of the right encoder and width."""
    stores = [open_store(place) for place in there]
    for store in stores:
        if store.encoder not in (None, wanted.encoder) and not _is_own(store, wanted):
            raise MissingError(
                f"{store.path}: holds features of the encoder '{store.encoder}', the run reads "
                f"'{wanted.encoder}'."
            )
        if wanted.width is not None and store.width != wanted.width:
            raise MissingError(
                f"{store.path}: holds features of width {store.width}, the backbone reads "
                f"{wanted.width}."
            )
    return stores[0] if len(stores) == 1 else Union(stores)


def _is_own(store: Store, wanted: Wanted) -> bool:
    """Whether the store is of an encoder of the user's, which has a name beside its place."""
    return ":" in wanted.encoder and store.encoder == wanted.load().name


def _require_all(card: TaskCard, store: Store, images: list[str], unit: str) -> None:
    missing = store.missing(images)
    if missing:
        shown = "".join(f"\n  {image}" for image in missing[:SHOWN])
        more = f"\n  ... and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        raise MissingError(
            f"Task '{card.name}': no features of {len(missing):,} of {len(images):,} {unit} in "
            f"{store.path}:{shown}{more}"
        )


def _advice(card: TaskCard, wanted: Wanted, places: list[Path]) -> str:
    looked = "".join(f"\n  {place}" for place in places)
    kind = " --kind frames" if card.visual == "video" else ""
    return (
        f"Task '{card.name}': no features of the encoder '{wanted.encoder}'; looked for:"
        f"{looked or ' none'}\nThey are made where the pictures are: vlbench data "
        f"extract-features --encoder {wanted.encoder} --images DIR{kind} --out "
        f"{places[0] if places else 'STORE'}"
    )
