"""Small copies of the pictures and clips that examples are about, where they are at hand.

They are looked for where the run read them: the mini edition in the cache (made now if need be),
else below the root that its spec names. Results can come from anybody, so only vlbench's own
readers are asked, and for no id that could lead out of their folders.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from vlbench.backbones import Visual
from vlbench.data.example import Example
from vlbench.data.images import open_clip, open_image
from vlbench.data.mini.edition import mini_root
from vlbench.data.readers import READERS, load_reader
from vlbench.data.readers.base import Reader
from vlbench.errors import MissingError, UsageError
from vlbench.leaderboard.site.folder import SiteFolder
from vlbench.leaderboard.site.names import is_plain
from vlbench.leaderboard.site.predictions import Prediction
from vlbench.leaderboard.site.specs import cut

SIDE = 224
"""Longest side of a copy in pixels."""
FRAMES = 6
"""Of a clip, side by side."""
FRAME_SIDE = 96
MOST = 1500
"""Pictures on a site; beyond them there is text only."""
Say = Callable[[str], None]


class Picture(NamedTuple):
    """A copy of a picture, or of some frames of a clip."""

    src: str
    """From the top of the site."""
    width: int
    height: int
    alt: str


class Pictures:
    """The pictures of a site: each is copied when it is first wanted."""

    def __init__(
        self, folder: SiteFolder, say: Say = lambda _: None, has_media: bool = True
    ) -> None:
        self.folder = folder
        self.has_media = has_media
        self.say = say
        self._mini: dict[Visual, str] = {}
        self._readers: dict[tuple[str, str], Reader | None] = {}
        self._examples: dict[tuple[str, str], dict[str, Example]] = {}
        self._copied: dict[tuple[str, str, str], Picture | None] = {}

    def of(
        self, spec: Mapping[str, Any], card: Mapping[str, Any], shown: Prediction
    ) -> list[Picture]:
        """The pictures of an example of a task; none where one of them is not at hand."""
        if not self.has_media:
            return []
        name, root = str(card.get("reader", "")), self._root(spec, card)
        reader = self._reader(name, root) if root else None
        if reader is None or not self._is_same(reader, spec, card, shown):
            return []
        is_clip = card.get("visual") == "video"
        found = [self._copy(reader, (name, root, image), is_clip) for image in shown.images]
        return [each for each in found if each is not None] if all(found) else []

    def _root(self, spec: Mapping[str, Any], card: Mapping[str, Any]) -> str:
        """Where the run's data lie; empty where that is not told, or they cannot be made here."""
        if spec.get("edition") != "mini" or spec.get("root"):
            return str(spec.get("root") or "")
        visual: Visual = "video" if card.get("visual") == "video" else "image"
        if visual not in self._mini:
            self._mini[visual] = self._made(visual)
        return self._mini[visual]

    def _made(self, visual: Visual) -> str:
        what = "clips" if visual == "video" else "pictures"
        reasons = [f"The pages show the {what} of examples. --no-media leaves them out."]

        def say(step: str) -> None:
            while reasons:
                self.say(reasons.pop())
            self.say(f"making the mini edition, which these {what} come from: {step}")

        try:
            return str(mini_root(visual, say))
        except (MissingError, UsageError, OSError) as error:
            self.say(f"no pictures of the mini edition: {error}")
            return ""

    def _reader(self, name: str, root: str) -> Reader | None:
        if (name, root) not in self._readers:
            is_ours = name in READERS and Path(root).is_dir()
            self._readers[name, root] = load_reader(name, Path(root)) if is_ours else None
        return self._readers[name, root]

    def _is_same(
        self, reader: Reader, spec: Mapping[str, Any], card: Mapping[str, Any], shown: Prediction
    ) -> bool:
        """Whether a generated example is the one that was predicted: another world has its ids."""
        if spec.get("edition") != "mini":
            return True
        place = (str(card.get("reader")), str(reader.root))
        if place not in self._examples:
            self._examples[place] = _examples(reader, card)
        known = self._examples[place].get(shown.id)
        if known is None or (cut(known.text), known.images) != (shown.text, shown.images):
            return False
        return bool(known.text) or any(text in known.targets for text, _ in shown.references)

    def _copy(self, reader: Reader, what: tuple[str, str, str], is_clip: bool) -> Picture | None:
        if what not in self._copied:
            room = sum(each is not None for each in self._copied.values()) < MOST
            self._copied[what] = self._write(reader, what[-1], is_clip) if room else None
        return self._copied[what]

    def _write(self, reader: Reader, image: str, is_clip: bool) -> Picture | None:
        if not is_plain(image):
            return None
        try:
            path = reader.image_path(image)
            picture = _strip(open_clip(path)) if is_clip else open_image(path)
        except MissingError:
            return None
        picture.thumbnail((FRAMES * FRAME_SIDE, SIDE) if is_clip else (SIDE, SIDE))
        suffix, content = _encoded(picture)
        name = f"images/{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
        self.folder.write(name, content)
        return Picture(
            name, *picture.size, f"Frames of clip {image}" if is_clip else f"Picture {image}"
        )


def _examples(reader: Reader, card: Mapping[str, Any]) -> dict[str, Example]:
    """The examples of the splits that are tested, by id."""
    splits = card.get("splits", {}).get("mini", {}).get("test", [])
    known = [split for split in splits if split in reader.splits]
    return {example.id: example for split in known for example in reader.read(split)}


def _strip(frames: Sequence[Image.Image]) -> Image.Image:
    """Some frames of a clip, evenly spread, side by side."""
    count = min(FRAMES, len(frames))
    chosen = [frames[int((step + 0.5) * len(frames) / count)].copy() for step in range(count)]
    for frame in chosen:
        frame.thumbnail((FRAME_SIDE, FRAME_SIDE))
    width, height = max(f.width for f in chosen), max(f.height for f in chosen)
    strip = Image.new("RGB", (count * (width + 2) - 2, height), (128, 128, 128))
    for number, frame in enumerate(chosen):
        strip.paste(frame, (number * (width + 2), 0))
    return strip


def _encoded(picture: Image.Image) -> tuple[str, bytes]:
    """The picture as PNG where it is small or flat, else as WebP."""
    file = io.BytesIO()
    if picture.width * picture.height <= 64 * 64 * FRAMES * 2:
        picture.quantize(64).save(file, "PNG", optimize=True)
        return "png", file.getvalue()
    picture.save(file, "WEBP", quality=78)
    return "webp", file.getvalue()
