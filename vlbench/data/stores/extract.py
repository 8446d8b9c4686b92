"""Run a frozen encoder over pictures or clips: into the cache for a run, or into a named store.

A named store is made in `STORE.partial`, whose journal has a line for each picture or clip whose
features are on the disk: the same command goes on behind it after a kill, and a half-written end is
cut off. `STORE` itself appears when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vlbench.cache import writing_cache
from vlbench.data.faults import Faults, first_lines
from vlbench.data.images import clips_below, open_clip, open_image, pictures_below
from vlbench.data.stores.base import fixed_frames
from vlbench.data.stores.own import (
    HEADER_BYTES,
    INDEX,
    FeatureStore,
    FeatureWriter,
    float16_rows,
    header,
    index_of,
    partial_of,
)
from vlbench.data.stores.published import ABOUT, NAMED, NPZ, Npz, about
from vlbench.errors import DataError, MissingError, RunFailed, UsageError
from vlbench.files import flush, write_atomically
from vlbench.running.claim import Claim, HeldError

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
    encoder_identity, faults = identity(encoder, is_frames), Faults()
    stamps = stamps_of(paths, faults)
    if store.exists() and not faults.texts:
        return _complete(store, is_frames, encoder_identity, stamps, say)
    partial_type = PartialClips if is_frames else PartialPictures
    try:
        with partial_type(store, encoder_identity, stamps) as partial:
            if partial.done:
                say(f"{partial.folder}: going on behind {len(partial.done):,} {kind}")
            before = {done.id for done in partial.done}
            todo = [image for image in sorted(stamps) if image not in before]
            progress(len(before), len(stamps))
            size, opener = (1, open_clip) if is_frames else (batch_size, open_image)
            for batch in _batches(paths, todo, size, opener, faults):
                if batch.ids and is_frames:
                    [frames] = batch.pictures
                    features: Any = [_encode_frames(encoder, frames, batch_size)]
                    partial.add(batch.ids, features, batch.hashes)
                elif batch.ids:
                    partial.add(batch.ids, encoder.encode(batch.pictures), batch.hashes)
                progress(len(before) + batch.done, len(stamps))
            if faults.texts:
                lines = "".join(f"\n  {line}" for line in first_lines(faults.texts))
                raise DataError(
                    f"{len(faults.texts):,} of {len(paths):,} {'clips' if is_frames else kind} "
                    f"cannot be read:{lines}\nRepair or remove them and start the same command "
                    f"again: the others are kept in {partial.folder}."
                )
            return partial.finish()
    except OSError as error:
        raise RunFailed(f"{store}: cannot be written: {error.strerror or error}") from None


def _complete(
    store: Path,
    is_frames: bool,
    encoder: dict[str, Any],
    stamps: dict[str, str],
    say: Callable[[str], None],
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
    _remove_journal(store)
    say(f"{store}: complete already")
    return complete


BEGUN, JOURNAL = "begun.json", "journal.jsonl"
FLUSH_SECONDS = 5.0
"""At most so much work is lost when the process is killed."""


class Done(NamedTuple):
    """A line of the journal."""

    id: str
    stamp: str
    """Of the file it was made from."""
    picture: str
    """Hash of the pixels."""


class Partial(ABC):
    """Context manager of a store in the making: one process at a time adds, then `finish`es."""

    kind: str
    """What it is of: pictures or frames."""

    def __init__(self, store: Path, encoder: Mapping[str, Any], stamps: Mapping[str, str]) -> None:
        self.store, self.folder = store, partial_of(store)
        self.encoder, self.stamps = dict(encoder), stamps
        self.done: list[Done] = []
        self._pending: list[Done] = []
        self._flushed = time.monotonic()
        self._open = ExitStack()

    @abstractmethod
    def cut(self, rows: int) -> int:
        """Drop what was written behind that many rows; return how many are complete."""

    @abstractmethod
    def write(self, ids: Sequence[str], features: Any) -> None:
        """Write features, in the order of ids."""

    @abstractmethod
    def sync(self) -> None:
        """Force what was written to the disk."""

    @abstractmethod
    def complete(self) -> None:
        """Write what makes a store of the folder."""

    @abstractmethod
    def opened(self) -> FeatureStore | Npz:
        """The complete store."""

    def add(self, ids: Sequence[str], features: Any, pictures: Sequence[str]) -> None:
        """Write features of pictures with those pixel hashes; the journal follows before long."""
        self.write(ids, features)
        self._pending += [
            Done(image, self.stamps[image], pixels)
            for image, pixels in zip(ids, pictures, strict=True)
        ]
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Append what was added to the journal; the features are on the disk first."""
        pending, self._pending = self._pending, []  # an interrupt must not write them twice
        self.sync()
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(done) + "\n" for done in pending)
            file.flush()
            os.fsync(file.fileno())
        self.done += pending
        self._flushed = time.monotonic()

    def finish(self) -> FeatureStore | Npz:
        """Complete the store and move it to its name."""
        self.flush()
        self.complete()
        self.folder.rename(self.store)
        _remove_journal(self.store)
        flush(self.store.parent)
        return self.opened()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(Claim(self.folder).held())
                stack.callback(self._open.close)
                self._resume()
            except HeldError:
                raise UsageError(f"{self.folder}: another process is at work on it.") from None
            self._held = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with self._held:
            if self._pending:
                self.flush()

    def _resume(self) -> None:
        """Read the journal of an earlier process, if it did the same."""
        file = self.folder / BEGUN
        begun: dict[str, Any] = {"schema": "vlbench.partial/1", "kind": self.kind}
        begun["encoder"] = self.encoder
        if not file.is_file():
            write_atomically(file, json.dumps(begun, indent=2) + "\n")
        try:
            earlier = json.loads(file.read_bytes())
        except ValueError as error:
            raise DataError(f"{file}: cannot be read: {error}. Delete its folder.") from None
        if earlier != begun:
            raise UsageError(
                f"{self.folder} was begun with {_kind_and_encoder(earlier)}, asked for "
                f"{_kind_and_encoder(begun)}. Delete it to begin anew, or name another --out."
            )
        journal = _read_journal(self.folder / JOURNAL)
        self.done = journal[: self.cut(len(journal))]
        text = "".join(json.dumps(done) + "\n" for done in self.done)
        write_atomically(self.folder / JOURNAL, text)
        changed = [done.id for done in self.done if self.stamps.get(done.id) != done.stamp]
        if changed:
            raise UsageError(
                f"{self.folder}: {len(changed):,} of its {self.kind} are gone or have changed "
                f"since, the first: {changed[0]}. Delete it to begin anew."
            )


def _kind_and_encoder(begun: dict[str, Any]) -> str:
    encoder = begun.get("encoder") or {}
    short_hash = str(encoder.get("hash"))[:12]
    return f"{begun.get('kind')} and the encoder '{encoder.get('name')}' ({short_hash})"


def _read_journal(file: Path) -> list[Done]:
    """The whole lines; one that was being written when the process died does not count."""
    journal: list[Done] = []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    for line in lines:
        try:
            done = Done(*json.loads(line))
        except (ValueError, TypeError):
            break
        if line.endswith("\n"):
            journal.append(done)
    return journal


def _remove_journal(store: Path) -> None:
    """Remove what a complete store does not have."""
    for name in (BEGUN, JOURNAL, "lock", "holder.json"):
        (store / name).unlink(missing_ok=True)


class PartialPictures(Partial):
    """`features.npy` grows by rows of (tokens, width) float16, in the order of the journal."""

    kind = "pictures"

    def cut(self, rows: int) -> int:
        """Open the file and cut it behind the rows of the journal; a shorter file has fewer."""
        self.shape: tuple[int, int] = (self.encoder["tokens"], self.encoder["width"])
        path = self.folder / "features.npy"
        path.touch()
        self._file: BinaryIO = self._open.enter_context(path.open("r+b"))
        self._file.write(header(0, self.shape))
        row_bytes = self.shape[0] * self.shape[1] * 2
        complete = (self._file.seek(0, os.SEEK_END) - HEADER_BYTES) // row_bytes
        kept = min(rows, complete)
        self._file.truncate(HEADER_BYTES + kept * row_bytes)
        self._file.seek(0, os.SEEK_END)
        return kept

    def write(self, ids: Sequence[str], features: ArrayLike) -> None:
        """Append (n, tokens, width) features of n pictures."""
        rows = float16_rows(features, (len(ids), *self.shape), ids, self.store)
        self._file.write(rows.tobytes())

    def sync(self) -> None:
        """Force the rows to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def complete(self) -> None:
        """Write the number of rows into the header, and the index."""
        self._file.seek(0)
        self._file.write(header(len(self.done), self.shape))
        self.sync()
        index = index_of(
            self.shape,
            [done.id for done in self.done],
            encoder=self.encoder,
            stamps=[done.stamp for done in self.done],
            pictures=[done.picture for done in self.done],
        )
        path = self.folder / INDEX
        path.write_text(json.dumps(index), encoding="utf-8")
        flush(path)

    def opened(self) -> FeatureStore:
        """The complete store."""
        return FeatureStore.open(self.store)


class PartialClips(Partial):
    """`{clip}.npz` with `features`, (frames, width) float16, written atomically; the rest is noted
    in `clips.json`."""

    kind = "frames"

    def cut(self, rows: int) -> int:
        """Cut nothing: an archive that is not in the journal is written again."""
        return rows

    def write(self, ids: Sequence[str], features: Sequence[NDArray[Any]]) -> None:
        """Write the features of each clip, (frames, width), into its archive."""
        for clip, frames in zip(ids, features, strict=True):
            shape = (len(frames), self.encoder["frame_width"])
            rows = float16_rows(frames, shape, [clip] * len(frames), self.store)

            def save(path: Path, rows: Any = rows) -> None:
                arrays: dict[str, Any] = {NAMED: rows}
                with path.open("wb") as file:
                    np.savez(file, **arrays)

            write_atomically(self.folder / f"{clip}{NPZ}", save)

    def sync(self) -> None:
        """Do nothing: every archive is on the disk."""

    def complete(self) -> None:
        """Write which encoder the features come from."""
        stamps = dict(sorted((done.id, done.stamp) for done in self.done))
        document = {"schema": "vlbench.clips/1", "encoder": self.encoder, "stamps": stamps}
        write_atomically(self.folder / ABOUT, json.dumps(document, indent=2) + "\n")

    def opened(self) -> Npz:
        """The complete store."""
        return Npz(self.store)
