"""Pictures of the site: small copies of what examples are about, and the plots of boards.

Copies come from where the run read them: the mini edition in the cache (made if need be), else the
root that its spec names. Results can come from anybody, so only vlbench's own readers are asked,
for no id that could lead out of their folders, and none whose files a card names.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from vlbench.cards.schema import TaskCard, Visual
from vlbench.data.example import Example
from vlbench.data.images import open_clip, open_image
from vlbench.data.mini.write import mini_root
from vlbench.data.readers import READERS, load_reader
from vlbench.data.readers.base import Reader
from vlbench.errors import MissingError, UsageError
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.site.run_files import Prediction, cut, is_plain
from vlbench.runs.spec import RunSpec

SIDE, FRAME_SIDE = 224, 96
"""Longest side of a copy, and of each frame of a clip, in pixels."""
N_FRAMES = 6  # of a clip, side by side
Say = Callable[[str], None]
Write = Callable[[str, str | bytes], None]  # writes a file of the site, named from its top


class Picture(NamedTuple):
    """A picture file of the site, named from its top; sizes in pixels."""

    src: str
    width: int
    height: int
    alt: str


class Pictures:
    """The pictures of examples: each is copied when a page first shows it."""

    def __init__(self, write: Write, say: Say = lambda _: None, has_media: bool = True) -> None:
        self.write, self.say, self.has_media = write, say, has_media
        self._mini_root = cache(self._make_mini)
        self._reader = cache(load_reader)
        self._generated = cache(self._read)
        self._copied = cache(self._copy)

    def of(self, spec: RunSpec, card: TaskCard, example: Prediction) -> list[Picture]:
        """Return the pictures of an example; none where one of them is not at hand."""
        if not self.has_media or card.reader not in READERS or card.files:
            return []
        is_mini = spec.edition == "mini"
        root = spec.root or (self._mini_root(card.visual) if is_mini else "")
        if not root or not Path(root).is_dir():
            return []
        reader = self._reader(card.reader, Path(root))
        if is_mini:  # another world has its ids too
            generated = self._generated(reader, *card.splits["mini"].test).get(example.id)
            same = generated and (cut(generated.text), generated.images)
            if same != (example.text, example.images):
                return []
        copies = [self._copied(reader, image, card.visual == "video") for image in example.images]
        return [copy for copy in copies if copy] if all(copies) else []

    def _make_mini(self, visual: Visual) -> str:
        try:
            why = f"making the mini edition for the {visual}s on the pages (none with --no-media)"
            return str(mini_root(visual, lambda step: self.say(f"{why}: {step}")))
        except (MissingError, UsageError, OSError) as error:
            self.say(f"no {visual}s of the mini edition: {error}")
            return ""

    def _read(self, reader: Reader, *splits: str) -> dict[str, Example]:
        known = [split for split in splits if split in reader.splits]
        return {example.id: example for split in known for example in reader.read(split)}

    def _copy(self, reader: Reader, image: str, is_clip: bool) -> Picture | None:
        if not is_plain(image):
            return None
        try:
            path = reader.image_path(image)
            picture = _strip(open_clip(path)) if is_clip else open_image(path)
        except MissingError:
            return None
        picture.thumbnail((N_FRAMES * FRAME_SIDE, SIDE) if is_clip else (SIDE, SIDE))
        is_small = picture.width * picture.height <= 64 * 64 * N_FRAMES * 2
        how: dict[str, Any] = {"lossless": True, "quality": 20} if is_small else {"quality": 78}
        file = io.BytesIO()
        picture.save(file, "WEBP", method=2, **how)
        name = f"images/{hashlib.sha256(file.getvalue()).hexdigest()[:16]}.webp"
        self.write(name, file.getvalue())
        return Picture(name, *picture.size, f"{'Frames of clip' if is_clip else 'Picture'} {image}")


def _strip(frames: Sequence[Image.Image]) -> Image.Image:
    count = min(N_FRAMES, len(frames))
    chosen = [frames[int((step + 0.5) * len(frames) / count)].copy() for step in range(count)]
    for frame in chosen:
        frame.thumbnail((FRAME_SIDE, FRAME_SIDE))
    width, height = max(f.width for f in chosen), max(f.height for f in chosen)
    strip = Image.new("RGB", (count * (width + 2) - 2, height), (128, 128, 128))
    for n, frame in enumerate(chosen):
        strip.paste(frame, (n * (width + 2), 0))
    return strip


def pareto_charts(board: Board, anchor: str, write: Write) -> dict[str, Picture]:
    """Draw a board's score against each cost that two methods have; return the plots by cost."""
    from vlbench.leaderboard.pareto import COSTS, pareto, points
    from vlbench.leaderboard.plots import encoded

    charts = {}
    for cost in COSTS:
        if sum(not point.row.is_floor for point in points(board, cost, board.columns[-1])) > 1:
            plot, file = pareto([board], [cost], width=9.0), f"charts/{anchor}_{cost.name}.svg"
            write(file, encoded(plot, "svg"))
            width, height = (round(96 * inches) for inches in plot.figure.get_size_inches())
            alt = f"{plot.title}. The table has the scores, a method's page its costs."
            charts[cost.title] = Picture(file, width, height, alt)
    return charts
