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
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vlbench.data.faults import Faults, first_lines
from vlbench.data.images import clips_below, open_clip, open_image, pictures_below
from vlbench.data.stores.base import fixed_frames
from vlbench.data.stores.own import FeatureStore, FeatureWriter, float16_rows, partial_of
from vlbench.data.stores.published import ABOUT, BROKEN_NPZ, NAMED, NPZ, Npz, about
from vlbench.errors import DataError, MissingError, RunFailed, UsageError
from vlbench.files import (
    flush,
    remove_dead,
    remove_dead_beside,
    temporary_beside,
    write_atomically,
    writing_cache,
)
from vlbench.lock import Lock, LockedError

BATCH_SIZE = 64
FRAMES_AT_ONCE = 64
"""Frames that go through an encoder together."""
Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all) after each batch."""
Opener = Callable[[Path], Any]
"""A path's picture or frames; DataError where it cannot be read."""


class Encoder(Protocol):
    """A frozen encoder of pictures."""

    name: str
    hash: str
    """Of weights and preprocessing: another hash, other features."""
    tokens: int
    width: int

    def encode(self, images: list[Any], /) -> ArrayLike:
        """n RGB pictures of any size, or n clips as lists of them -> (n, tokens, width) floats."""
        ...


class FrameEncoder(Protocol):
    """A frozen encoder that makes one vector of each frame."""

    name: str
    hash: str
    frame_width: int

    def encode_frames(self, images: list[Image.Image]) -> NDArray[Any]:
        """n RGB pictures -> (n, frame_width)."""
        ...


class ClipEncoder:
    """An encoder of clips: `frame_encoder` frame by frame, then a fixed number of frames."""

    def __init__(self, frame_encoder: FrameEncoder, frames: int) -> None:
        _require_frames(frame_encoder)
        self.frame_encoder = frame_encoder
        self.name = f"{frame_encoder.name}-clips"
        self.hash = frame_encoder.hash
        self.tokens = frames
        self.width = frame_encoder.frame_width

    def encode(self, clips: Sequence[list[Image.Image]]) -> NDArray[Any]:
        """n clips -> (n, frames, width)."""
        frames = [frame for clip in clips for frame in clip]
        features = _encode_frames(self.frame_encoder, frames, FRAMES_AT_ONCE)
        ends = np.cumsum([len(clip) for clip in clips])[:-1]
        return np.stack([fixed_frames(clip, self.tokens) for clip in np.split(features, ends)])


def _encode_frames(
    encoder: FrameEncoder, frames: list[Image.Image], batch_size: int
) -> NDArray[Any]:
    """Frames -> (frames, width)."""
    starts = range(0, len(frames), batch_size)
    parts = [frames[start : start + batch_size] for start in starts]
    return np.concatenate([encoder.encode_frames(part) for part in parts])


def _require_frames(encoder: Any) -> None:
    """Refuse an encoder of pictures only."""
    if not (hasattr(encoder, "encode_frames") and hasattr(encoder, "frame_width")):
        raise UsageError(
            f"Encoder '{encoder.name}' encodes pictures only: clips need encode_frames and "
            "frame_width."
        )


def identity(encoder: Any, is_frames: bool = False) -> dict[str, Any]:
    """What makes two encoders the same."""
    keys = ("name", "hash", "frame_width") if is_frames else ("name", "hash", "tokens", "width")
    return {key: getattr(encoder, key) for key in keys}


def store_for(
    encoder: Encoder,
    images: Mapping[str, Path],
    cache: Path,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
    opener: Opener = open_image,
) -> FeatureStore:
    """The features of these pictures from a store in the cache that holds them all, else extracted.

    A store serves as long as encoder, paths, sizes and times of the files are what they were.
    """
    stamps = stamps_of(images)
    key = hashlib.sha256("".join(f"{image} {stamps[image]}\n" for image in sorted(images)).encode())
    encoder_hash = hashlib.sha256(repr(sorted(identity(encoder).items())).encode()).hexdigest()
    stores = cache / "features" / f"{encoder.name}-{encoder_hash[:12]}"
    own = stores / key.hexdigest()[:16]
    others = sorted(folder for folder in stores.glob("*/") if not folder.name.startswith("."))
    for folder in dict.fromkeys([own, *others]):
        try:
            store = FeatureStore.open(folder)
        except MissingError:  # absent or damaged
            continue
        if stamps.items() <= _stamps_in(store).items():
            return store
    with writing_cache():
        return extract(encoder, images, own, batch_size, progress, opener)


def extract(
    encoder: Encoder,
    images: Mapping[str, Path],
    out_folder: Path,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
    opener: Opener = open_image,
) -> FeatureStore:
    """Write the features of pictures (id -> file) as a store; one error lists all unreadable ones.

    `opener` gives what the encoder takes of a path: a picture, or the frames of a clip.
    """
    faults, stamps, pictures = Faults(), stamps_of(images), []
    with FeatureWriter(out_folder, encoder.tokens, encoder.width) as writer:
        for batch in _batches(images, sorted(images), batch_size, opener, faults):
            pictures += batch.hashes
            if not faults.texts:  # after a fault only the other faults are of interest
                writer.add(batch.ids, encoder.encode(batch.pictures))
            if progress is not None:
                progress(batch.done, len(images))
        faults.refuse()
        return writer.finish(
            encoder=identity(encoder),
            stamps=[stamps[image] for image in writer.ids],
            pictures=pictures,
        )


class Batch(NamedTuple):
    """The readable ones of some pictures or clips."""

    ids: list[str]
    pictures: list[Any]
    """Pictures, or lists of frames."""
    hashes: list[str]
    """Of their pixels."""
    done: int
    """How many were opened so far, the unreadable ones too."""


def _batches(
    images: Mapping[str, Path], ids: Sequence[str], size: int, opener: Opener, faults: Faults
) -> Iterator[Batch]:
    rest, done = iter(ids), 0
    while group := list(islice(rest, size)):
        pictures = {}
        for image in group:
            try:
                pictures[image] = opener(images[image])
            except DataError as error:
                faults.texts.append(str(error))
        done += len(group)
        hashes = list(map(_pixel_hash, pictures.values()))
        yield Batch(list(pictures), list(pictures.values()), hashes, done)


def _pixel_hash(picture: Image.Image | list[Image.Image]) -> str:
    """Short hash of the pixels of a picture, or of all frames of a clip."""
    hashed = hashlib.sha256()
    for image in [picture] if isinstance(picture, Image.Image) else picture:
        hashed.update(repr(image.size).encode() + image.tobytes())
    return hashed.hexdigest()[:16]


def stamps_of(images: Mapping[str, Path], faults: Faults | None = None) -> dict[str, str]:
    """Image id -> short hash of its file's path, size and time.

    Missing files go into `faults`, else one error lists them.
    """
    noted = Faults() if faults is None else faults
    stamps = {}
    for image, path in images.items():
        try:
            stamps[image] = _stamp(path)
        except OSError as error:
            noted.add(path, "", f"picture cannot be read: {error.strerror}")
    if faults is None:
        noted.refuse()
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


def _stamps_in(store: FeatureStore) -> dict[str, str]:
    return dict(zip(store.ids, store.index.get("stamps", ()), strict=False))


def extract_store(
    encoder: Any,
    images: Path,
    store: Path,
    kind: str,
    batch_size: int,
    progress: Progress,
    say: Callable[[str], None],
) -> FeatureStore | Npz:
    """The store of all pictures (or clips, kind "frames") below `images`; resumes a partial one.

    Unreadable pictures do not hold up the others: they are listed at the end, and what was
    extracted stays for the same call after they are repaired or removed.
    """
    is_frames = kind == "frames"
    if is_frames:
        _require_frames(encoder)
    paths = clips_below(images) if is_frames else pictures_below(images)
    origin, faults = identity(encoder, is_frames), Faults()
    stamps = stamps_of(paths, faults)
    if store.exists() and not faults.texts:
        complete = _complete(store, is_frames, origin, stamps)
        shutil.rmtree(partial_of(store), ignore_errors=True)
        say(f"{store}: complete already")
        return complete
    try:
        with _locked(partial_of(store)) as folder:
            shards = _resumed(folder, kind, origin, stamps)
            done = {image for shard in shards for image in _shard(shard).ids}
            if done:
                say(f"{folder}: going on behind {len(done):,} {kind}")
            todo = [image for image in sorted(stamps) if image not in done]
            progress(len(done), len(stamps))
            size, opener = (1, open_clip) if is_frames else (batch_size, open_image)
            for batch in _batches(paths, todo, size, opener, faults):
                if batch.ids:
                    rows = _rows(encoder, batch, is_frames, batch_size, store)
                    shards.append(_write_shard(folder, shards, batch, stamps, rows))
                progress(len(done) + batch.done, len(stamps))
            if faults.texts:
                lines = "".join(f"\n  {line}" for line in first_lines(faults.texts))
                raise DataError(
                    f"{len(faults.texts):,} of {len(paths):,} {'clips' if is_frames else kind} "
                    f"cannot be read:{lines}\nRepair or remove them and start the same command "
                    f"again: the others are kept in {folder}."
                )
            write = _write_clips if is_frames else _write_pictures
            write(store, shards, origin)
            shutil.rmtree(folder)
            return Npz(store) if is_frames else FeatureStore.open(store)
    except OSError as error:
        raise RunFailed(f"{store}: cannot be written: {error.strerror or error}") from None


def _rows(
    encoder: Any, batch: Batch, is_frames: bool, batch_size: int, store: Path
) -> NDArray[np.float16]:
    """Features of the pictures, (n, tokens, width), or of the one clip, (1, frames, width)."""
    if not is_frames:
        shape = (len(batch.ids), encoder.tokens, encoder.width)
        return float16_rows(encoder.encode(batch.pictures), shape, batch.ids, store)
    [frames] = batch.pictures
    shape = (1, len(frames), encoder.frame_width)
    return float16_rows([_encode_frames(encoder, frames, batch_size)], shape, batch.ids, store)


def _complete(
    store: Path, is_frames: bool, encoder: dict[str, Any], stamps: dict[str, str]
) -> FeatureStore | Npz:
    """The complete store at that path, if it is of these files and this encoder."""
    try:
        complete = Npz(store) if is_frames else FeatureStore.open(store)
    except (MissingError, OSError):
        raise UsageError(f"--out {store}: something else is there already.") from None
    if isinstance(complete, FeatureStore):
        origin = complete.index.get("encoder"), _stamps_in(complete)
    else:
        origin = about(store).get("encoder"), about(store).get("stamps", {})
    if origin != (encoder, stamps):
        raise UsageError(
            f"--out {store}: a store of other pictures or of another encoder is there already. "
            "Name another folder, or delete it."
        )
    return complete


class Shard(NamedTuple):
    """Features of a batch, with the stamps of the files and the hashes of the pixels."""

    ids: list[str]
    stamps: list[str]
    hashes: list[str]
    features: NDArray[np.float16]
    """(n, tokens, width); empty where only the rest was read."""


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """The folder, for one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(Lock(folder).acquire())
        except LockedError:
            raise UsageError(f"{folder}: another process is at work on it.") from None
        yield folder


def _resumed(
    folder: Path, kind: str, encoder: dict[str, Any], stamps: Mapping[str, str]
) -> list[Path]:
    """The shards of an earlier process, if it did the same."""
    file = folder / "begun.json"
    begun = {"schema": "vlbench.partial/2", "kind": kind, "encoder": encoder}
    if not file.is_file():
        write_atomically(file, json.dumps(begun, indent=2) + "\n")
    try:
        earlier = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: cannot be read: {error}. Delete its folder.") from None
    if earlier != begun:
        raise UsageError(
            f"{folder} was begun with {_kind_and_encoder(earlier)}, asked for "
            f"{_kind_and_encoder(begun)}. Delete it to begin anew, or name another --out."
        )
    remove_dead(folder)
    shards = sorted(folder.glob("shard-*.npz"))
    changed = [
        image
        for shard in map(_shard, shards)
        for image, stamp in zip(shard.ids, shard.stamps, strict=True)
        if stamps.get(image) != stamp
    ]
    if changed:
        raise UsageError(
            f"{folder}: {len(changed):,} of its {kind} are gone or have changed since, "
            f"the first: {changed[0]}. Delete it to begin anew."
        )
    return shards


def _kind_and_encoder(begun: dict[str, Any]) -> str:
    encoder = begun.get("encoder") or {}
    short_hash = str(encoder.get("hash"))[:12]
    return f"{begun.get('kind')} and the encoder '{encoder.get('name')}' ({short_hash})"


def _write_shard(
    folder: Path,
    shards: Sequence[Path],
    batch: Batch,
    stamps: Mapping[str, str],
    rows: NDArray[np.float16],
) -> Path:
    """Write a batch; it is on the disk, whole, or absent."""
    notes = [batch.ids, [stamps[image] for image in batch.ids], batch.hashes]
    number = int(shards[-1].stem.partition("-")[2]) + 1 if shards else 0
    path = folder / f"shard-{number:08}.npz"
    return write_atomically(path, partial(_save, notes=np.array(json.dumps(notes)), features=rows))


def _save(path: Path, **arrays: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _shard(path: Path, with_features: bool = False) -> Shard:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            notes = json.loads(str(archive["notes"]))
            features = archive[NAMED] if with_features else np.empty(0, np.float16)
            return Shard(notes[0], notes[1], notes[2], features)
    except BROKEN_NPZ as error:
        raise DataError(f"{path}: damaged: {error}. Delete it: it is made again.") from None


def _write_pictures(store: Path, shards: Sequence[Path], encoder: dict[str, Any]) -> None:
    """The shards as a store of our own."""
    stamps, hashes = [], []
    with FeatureWriter(store, encoder["tokens"], encoder["width"]) as writer:
        for path in shards:
            shard = _shard(path, with_features=True)
            writer.add(shard.ids, shard.features)
            stamps += shard.stamps
            hashes += shard.hashes
        writer.finish(encoder=encoder, stamps=stamps, pictures=hashes)


def _write_clips(store: Path, shards: Sequence[Path], encoder: dict[str, Any]) -> None:
    """The shards, of one clip each, as `{clip}.npz`, and `clips.json` with their origin."""
    remove_dead_beside(store)
    beside, stamps = temporary_beside(store), {}
    beside.mkdir()
    try:
        for path in shards:
            shard = _shard(path, with_features=True)
            [clip], [stamps[clip]] = shard.ids, shard.stamps
            _save(beside / f"{clip}{NPZ}", **{NAMED: shard.features[0]})
            flush(beside / f"{clip}{NPZ}")
        origin = {"encoder": encoder, "stamps": dict(sorted(stamps.items()))}
        document = json.dumps({"schema": "vlbench.clips/1", **origin}, indent=2)
        write_atomically(beside / ABOUT, document + "\n")
        beside.rename(store)
        flush(store.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
