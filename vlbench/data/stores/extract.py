"""Run a frozen encoder over pictures or clips: into the cache for a run, or into a named store.

A named store is made in `STORE.partial`, an archive per batch, each on the disk whole or not at
all: the same command goes on behind them after a kill. `STORE` itself appears when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vlbench.data.example import Faults, first_lines
from vlbench.data.images import clips_below, open_clip, open_image, pictures_below
from vlbench.data.stores.base import Store, fixed_frames
from vlbench.data.stores.own import FeatureStore, partial_of, whole_folder, write_store
from vlbench.data.stores.published import ABOUT, BROKEN_NPZ, NAMED, NPZ, open_store
from vlbench.errors import DataError, MissingError, RunFailed, UsageError
from vlbench.files import remove_dead, write_atomically, writing_cache
from vlbench.lock import Lock, LockedError

BATCH_SIZE = 64
Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all) after each batch."""
Opener = Callable[[Path], Any]  # a path's picture or frames; DataError where it cannot be read


class Encoder(Protocol):
    """A frozen encoder of pictures.

    One that encodes clips too has `encode_frames`, n RGB pictures -> (n, frame_width), and
    `frame_width`.
    """

    name: str
    hash: str  # of weights and preprocessing: another hash, other features
    tokens: int
    width: int

    def encode(self, images: list[Any], /) -> ArrayLike:
        """n RGB pictures of any size, or n clips as lists of them -> (n, tokens, width) floats."""
        ...


class ClipEncoder:
    """An encoder of clips, frame by frame; a fixed number of frames, or 0: as many as there are."""

    def __init__(self, frame_encoder: Any, frames: int, batch_size: int = BATCH_SIZE) -> None:
        self.frame_encoder, self.tokens, self.batch_size = frame_encoder, frames, batch_size
        self.name, self.hash = f"{frame_encoder.name}-clips", frame_encoder.hash
        if not (hasattr(frame_encoder, "encode_frames") and hasattr(frame_encoder, "frame_width")):
            raise UsageError(
                f"Encoder '{frame_encoder.name}' encodes pictures only: clips need encode_frames "
                "and frame_width."
            )
        self.width: int = frame_encoder.frame_width

    def encode(self, clips: Sequence[list[Image.Image]]) -> NDArray[Any]:
        """n clips -> (n, frames, width)."""
        frames = [frame for clip in clips for frame in clip]
        starts = range(0, len(frames), self.batch_size)
        parts = (frames[start : start + self.batch_size] for start in starts)
        features = np.concatenate([self.frame_encoder.encode_frames(part) for part in parts])
        ends = np.cumsum([len(clip) for clip in clips])[:-1]
        clip_features = np.split(features, ends)
        return np.stack([fixed_frames(clip, self.tokens or len(clip)) for clip in clip_features])


def store_for(
    encoder: Encoder,
    images: Mapping[str, Path],
    cache: Path,
    batch_size: int = BATCH_SIZE,
    progress: Progress = lambda done, total: None,
    opener: Opener = open_image,
) -> FeatureStore:
    """The features of these pictures from a store in the cache that holds them all, else extracted.

    A store serves as long as encoder, paths, sizes and times of the files are what they were. One
    error lists all unreadable pictures.
    """
    faults = Faults()
    stamps = _stamps(images, faults)
    faults.refuse()
    identity = _identity(encoder)
    key = hashlib.sha256("".join(f"{image} {stamps[image]}\n" for image in sorted(images)).encode())
    encoder_hash = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()
    stores = cache / "features" / f"{encoder.name}-{encoder_hash[:12]}"
    own = stores / key.hexdigest()[:16]
    others = sorted(folder for folder in stores.glob("*/") if not folder.name.startswith("."))
    for folder in dict.fromkeys([own, *others]):
        try:
            store = FeatureStore(folder)
        except MissingError:  # absent or damaged
            continue
        if stamps.items() <= store.about["stamps"].items():
            return store
    notes: dict[str, Any] = {"encoder": identity, "stamps": [], "pictures": []}

    def batches() -> Iterator[tuple[list[str], NDArray[np.float16]]]:
        ordered = sorted(images)
        for ids, pictures, hashes, done in _opened(images, ordered, batch_size, opener, faults):
            notes["stamps"] += [stamps[image] for image in ids]
            notes["pictures"] += hashes
            if not faults.texts:  # after a fault only the other faults are of interest
                yield ids, _encoded(encoder, pictures, ids, own)
            progress(done, len(images))
        faults.refuse()

    with writing_cache():
        return write_store(own, batches(), notes)


def _opened(
    images: Mapping[str, Path], ids: Sequence[str], size: int, opener: Opener, faults: Faults
) -> Iterator[tuple[list[str], list[Any], list[str], int]]:
    """(ids, pictures or clips, hashes of their pixels, how many were tried so far) of batches."""
    pending, done = iter(ids), 0
    while batch := list(islice(pending, size)):
        pictures = {}
        for image in batch:
            try:
                pictures[image] = opener(images[image])
            except DataError as error:
                faults.texts.append(str(error))
        done += len(batch)
        hashes = list(map(_pixel_hash, pictures.values()))
        yield list(pictures), list(pictures.values()), hashes, done


def _encoded(
    encoder: Encoder, pictures: list[Any], ids: Sequence[str], store: Path
) -> NDArray[np.float16]:
    """(n, tokens, width); RunFailed where the encoder makes another shape, or what is too large."""
    with np.errstate(over="ignore"):
        rows = np.asarray(encoder.encode(pictures)).astype("<f2")
    shape = (len(ids), encoder.tokens or len(pictures[0]), encoder.width)
    if rows.shape != shape:
        raise RunFailed(f"{store}: features should be {shape}, found {rows.shape}")
    for image, row in zip(ids, rows, strict=True):
        if not np.isfinite(row).all():
            raise RunFailed(f"{store}: features of {image} are not finite in float16")
    return rows


def _pixel_hash(picture: Image.Image | list[Image.Image]) -> str:
    """Short hash of the pixels of a picture, or of all frames of a clip."""
    hashed = hashlib.sha256()
    for image in [picture] if isinstance(picture, Image.Image) else picture:
        hashed.update(repr(image.size).encode() + image.tobytes())
    return hashed.hexdigest()[:16]


def _stamps(images: Mapping[str, Path], faults: Faults) -> dict[str, str]:
    """Image id -> short hash of its file's path, size and time; missing ones go into `faults`."""
    stamps = {}
    for image, path in images.items():
        try:
            stamps[image] = _stamp(path)
        except OSError as error:
            faults.add(path, "", f"picture cannot be read: {error.strerror}")
    return stamps


def _stamp(path: Path) -> str:
    """Of a file, or of a folder with the files in it."""
    status = os.stat(path)
    text = f"{os.path.abspath(path)}\n{status.st_size}\n{status.st_mtime_ns}"
    if stat.S_ISDIR(status.st_mode):
        with os.scandir(path) as entries:
            files = sorted((entry.name, entry.stat()) for entry in entries)
        text += "".join(f"\n{name} {of.st_size} {of.st_mtime_ns}" for name, of in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def extract_store(
    encoder: Any,
    images: Path,
    store: Path,
    kind: str,
    batch_size: int,
    progress: Progress,
    say: Callable[[str], None],
) -> Store:
    """The store of all pictures (or clips, kind "frames") below `images`; resumes a partial one.

    Unreadable pictures do not hold up the others: they are listed at the end, and what was
    extracted stays for the same call after they are repaired or removed.
    """

    opener: Opener
    if kind == "frames":
        encoder = ClipEncoder(encoder, 0, batch_size)
        paths, size, opener = clips_below(images), 1, open_clip
        origin = _identity(encoder.frame_encoder, "frame_width")
    else:
        paths, size, opener = pictures_below(images), batch_size, open_image
        origin = _identity(encoder)
    faults = Faults()
    stamps = _stamps(paths, faults)
    partial = partial_of(store)
    try:
        if store.exists() and not faults.texts:
            complete = _complete(store, origin, stamps)
            shutil.rmtree(partial, ignore_errors=True)
            say(f"{store}: complete already")
            return complete
        partial.mkdir(parents=True, exist_ok=True)
        with Lock(partial).acquire():
            shards = _resumed(partial, origin, stamps)
            done = {image for notes in shards.values() for image in notes["ids"]}
            if done:
                say(f"{partial}: going on behind {len(done):,} {kind}")
            progress(len(done), len(stamps))
            pending = [image for image in sorted(stamps) if image not in done]
            numbers = count(1 + max((int(shard.stem[6:]) for shard in shards), default=-1))
            for ids, pictures, hashes, opened in _opened(paths, pending, size, opener, faults):
                if ids:
                    rows = _encoded(encoder, pictures, ids, store)
                    notes = {"encoder": origin, "ids": ids, "pictures": hashes}
                    notes["stamps"] = [stamps[image] for image in ids]
                    path = partial / f"shard-{next(numbers):08}.npz"
                    archive = _archive(features=rows, notes=np.array(json.dumps(notes)))
                    shards[write_atomically(path, archive)] = notes
                progress(len(done) + opened, len(stamps))
            if faults.texts:
                lines = "".join(f"\n  {line}" for line in first_lines(faults.texts))
                unit = "clips" if kind == "frames" else kind
                raise DataError(
                    f"{len(faults.texts):,} of {len(paths):,} {unit} cannot be read:{lines}\n"
                    "Repair or remove them and start the same command again: the others are kept "
                    f"in {partial}."
                )
            _assemble(store, shards, origin)
            shutil.rmtree(partial)
            return open_store(store)
    except LockedError:
        raise UsageError(f"{partial}: another process is at work on it.") from None
    except OSError as error:
        raise RunFailed(f"{store}: cannot be written: {error.strerror or error}") from None


def _complete(store: Path, origin: dict[str, Any], stamps: dict[str, str]) -> Store:
    """The complete store at that path, if it is of these files and this encoder."""
    try:
        complete = open_store(store)
    except MissingError:
        raise UsageError(f"--out {store}: something else is there already.") from None
    if (complete.about.get("encoder"), complete.about.get("stamps")) != (origin, stamps):
        raise UsageError(
            f"--out {store}: a store of other pictures or of another encoder is there already. "
            "Name another folder, or delete it."
        )
    return complete


def _identity(encoder: Any, *sizes: str) -> dict[str, Any]:
    """What makes two encoders the same."""
    return {key: getattr(encoder, key) for key in ("name", "hash", *(sizes or ("tokens", "width")))}


def _resumed(
    partial: Path, origin: dict[str, Any], stamps: Mapping[str, str]
) -> dict[Path, dict[str, Any]]:
    """Shard -> its ids, stamps and hashes of pixels, of an earlier process that did the same."""
    remove_dead(partial)
    shards = {path: _read(path, "notes") for path in sorted(partial.glob("shard-*.npz"))}
    changed = []
    for notes in shards.values():
        if notes["encoder"] != origin:
            raise UsageError(
                f"{partial} was begun with {notes['encoder']}, not with {origin}. Delete it to "
                "begin anew, or name another --out."
            )
        extracted = zip(notes["ids"], notes["stamps"], strict=True)
        changed += [image for image, stamp in extracted if stamps.get(image) != stamp]
    if changed:
        raise UsageError(
            f"{partial}: {len(changed):,} of its pictures or clips are gone or have changed since, "
            f"the first: {changed[0]}. Delete it to begin anew."
        )
    return shards


def _archive(**arrays: Any) -> Callable[[Path], None]:
    """What writes an `.npz` file, whatever its name ends in."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)

    return write


def _read(shard: Path, array: str) -> Any:
    """The features of a shard, or its notes."""
    try:
        with shard.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(json.loads(str(archive[array]))) if array == "notes" else archive[array]
    except (*BROKEN_NPZ, TypeError) as error:
        raise DataError(f"{shard}: damaged: {error}. Delete it: it is made again.") from None


def _assemble(store: Path, shards: dict[Path, dict[str, Any]], origin: dict[str, Any]) -> None:
    """Make the shards a store of our own, or of clips `{clip}.npz` with `clips.json`."""
    details: dict[str, Any] = {"encoder": origin}
    for key in ("stamps", "pictures"):
        details[key] = [value for notes in shards.values() for value in notes[key]]
    if "frame_width" not in origin:
        write_store(store, ((n["ids"], _read(path, NAMED)) for path, n in shards.items()), details)
        return
    clips = [clip for notes in shards.values() for clip in notes["ids"]]
    stamps = dict(sorted(zip(clips, details["stamps"], strict=True)))
    about = {"schema": "vlbench.clips/1", "encoder": origin, "stamps": stamps}
    with whole_folder(store) as folder:
        for clip, path in zip(clips, shards, strict=True):
            _archive(features=_read(path, NAMED)[0])(folder / f"{clip}{NPZ}")
        (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
