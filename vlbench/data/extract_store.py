"""Features of a folder's pictures or clips as a store, with work that a kill does not lose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlbench.data.clips import FrameEncoder, open_clip, require_frames
from vlbench.data.extract import Opener, Progress, identity, opened_batches, stamps_of
from vlbench.data.faults import SHOWN, Faults
from vlbench.data.images import open_image
from vlbench.data.picture_folders import clips_below, pictures_below
from vlbench.data.stores.npz import Npz, about
from vlbench.data.stores.own import FeatureStore
from vlbench.data.stores.partial import ONLY_PARTIAL, Partial
from vlbench.data.stores.partial_clips import PartialClips
from vlbench.data.stores.partial_pictures import PartialPictures
from vlbench.errors import DataError, MissingError, RunFailed, UsageError


@dataclass(frozen=True)
class Kind:
    """What is made of pictures, or of clips."""

    below: Callable[[Path], dict[str, Path]]
    partial: type[Partial]
    open_one: Opener
    """A path as the encoder takes it."""


def extract_store(
    encoder: Any,
    images: Path,
    store: Path,
    kind: str,
    batch_size: int,
    progress: Progress,
    say: Callable[[str], None],
) -> FeatureStore | Npz:
    """The store of all pictures (or clips) below `images`; goes on with one that was begun.

    Unreadable pictures do not hold up the others: they are told at the end, and what was extracted
    stays for the same call after they are repaired or removed.
    """
    row = KINDS[kind]
    paths = row.below(images)
    count = len(paths)
    about_encoder = identity(encoder) if kind == "pictures" else _frame_identity(encoder)
    faults = Faults()
    stamps = stamps_of(paths, faults)
    if store.exists() and not faults.texts:
        return _complete(store, kind, about_encoder, stamps, say)
    paths = {image: path for image, path in paths.items() if image in stamps}
    try:
        with row.partial(store, about_encoder, stamps) as partial:
            if partial.done:
                say(f"{partial.folder}: going on behind {len(partial.done):,} {kind}")
            _add_all(encoder, partial, paths, row.open_one, batch_size, progress, faults)
            if faults.texts:
                raise _unreadable(faults, partial, count)
            return partial.finish()
    except OSError as error:
        raise RunFailed(f"{store}: cannot be written: {error.strerror or error}") from None


def _add_all(
    encoder: Any,
    partial: Partial,
    paths: Mapping[str, Path],
    open_one: Opener,
    batch_size: int,
    progress: Progress,
    faults: Faults,
) -> None:
    """Extract what is not done yet; a clip is a batch of its own."""
    before = {each.id for each in partial.done}
    todo = [image for image in sorted(paths) if image not in before]
    is_clips = partial.kind == "frames"
    size = 1 if is_clips else batch_size
    progress(len(before), len(paths))
    for seen in opened_batches(paths, todo, size, open_one, faults):
        if seen.ids and is_clips:
            partial.add(seen.ids, [_frames(encoder, seen.pictures[0], batch_size)], seen.hashes)
        elif seen.ids:
            partial.add(seen.ids, encoder.encode(seen.pictures), seen.hashes)
        progress(len(before) + seen.done, len(paths))


def _frames(encoder: FrameEncoder, frames: list[Image.Image], size: int) -> Any:
    """The frames of a clip -> (frames, width)."""
    parts = [frames[at : at + size] for at in range(0, len(frames), size)]
    return np.concatenate([encoder.encode_frames(part) for part in parts])


def _frame_identity(encoder: FrameEncoder) -> dict[str, Any]:
    """What makes two encoders of frames the same."""
    require_frames(encoder)
    return {key: getattr(encoder, key) for key in ("name", "hash", "frame_width")}


KINDS = {
    "pictures": Kind(pictures_below, PartialPictures, open_image),
    "frames": Kind(clips_below, PartialClips, open_clip),
}


def _complete(
    store: Path,
    kind: str,
    encoder: dict[str, Any],
    stamps: dict[str, str],
    say: Callable[[str], None],
) -> FeatureStore | Npz:
    """A store that is there already, if it is the one asked for."""
    try:
        found = FeatureStore.open(store) if kind == "pictures" else Npz(store)
    except (MissingError, OSError):
        raise UsageError(f"--out {store}: something else is there already.") from None
    if isinstance(found, FeatureStore):
        said = (
            found.index.get("encoder"),
            dict(zip(found.ids, found.index.get("stamps", ()), strict=False)),
        )
    else:
        said = about(store).get("encoder"), about(store).get("stamps", {})
    if said != (encoder, stamps):
        raise UsageError(
            f"--out {store}: a store of other pictures or of another encoder is there already. "
            "Name another folder, or delete it."
        )
    for name in ONLY_PARTIAL:
        (store / name).unlink(missing_ok=True)
    say(f"{store}: complete already")
    return found


def _unreadable(faults: Faults, partial: Partial, count: int) -> DataError:
    unit = "clips" if partial.kind == "frames" else partial.kind
    lines = [f"  {text}" for text in faults.texts[:SHOWN]]
    if len(faults.texts) > SHOWN:
        lines.append(f"  ... and {len(faults.texts) - SHOWN:,} more")
    return DataError(
        f"{len(faults.texts):,} of {count:,} {unit} cannot be read:\n"
        + "\n".join(lines)
        + "\nRepair or remove them and start the same command again: the others are kept in "
        f"{partial.folder}."
    )
