"""Pictures of the site: small copies of what examples are about, and the plots of boards and runs.

Copies come from where the run read them: the mini edition in the cache (made if need be), else the
root that its spec names. Results can come from anybody, so only vlbench's own readers are asked,
and for no id that could lead out of their folders.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from vlbench.data.example import Example
from vlbench.data.images import open_clip, open_image
from vlbench.data.mini.edition import mini_root
from vlbench.data.readers import READERS, load_reader
from vlbench.data.readers.base import Reader
from vlbench.errors import MissingError, UsageError
from vlbench.leaderboard.board import Board, Row
from vlbench.leaderboard.logs import Log
from vlbench.leaderboard.site.run_files import Prediction, as_lines, as_table, cut, is_plain

if TYPE_CHECKING:
    from vlbench.leaderboard.plots import Plot

SIDE, FRAME_SIDE = 224, 96
"""Longest side of a copy, and of each frame of a clip, in pixels."""
N_FRAMES = 6
"""Of a clip, side by side."""
MOST = 1500
"""Pictures on a site; beyond them there is text only."""
MOST_DRAWN = 40
"""Methods of a board in a Pareto plot, beside those on the frontier."""
PARETO_WIDTH = 9.0
"""Inches."""
Say = Callable[[str], None]
Write = Callable[[str, str | bytes], None]
"""Writes a file of the site, named from its top."""


class Picture(NamedTuple):
    """A picture file of the site."""

    src: str
    """From the top of the site."""
    width: int
    """Pixels."""
    height: int
    alt: str


class Pictures:
    """The pictures of examples: each is copied when a page first shows it."""

    def __init__(self, write: Write, say: Say = lambda _: None, has_media: bool = True) -> None:
        self.write = write
        self.say = say
        self.has_media = has_media
        self._mini: dict[bool, str] = {}
        self._readers: dict[tuple[str, str], Reader | None] = {}
        self._examples: dict[Reader, dict[str, Example]] = {}
        self._copies: dict[tuple[Reader, str], Picture | None] = {}

    def of(
        self, spec: Mapping[str, Any], card: Mapping[str, Any], example: Prediction
    ) -> list[Picture]:
        """Return the pictures of an example; none where one of them is not at hand."""
        is_clip = card.get("visual") == "video"
        reader = self._reader(spec, str(card.get("reader", "")), is_clip)
        is_mini = spec.get("edition") == "mini"
        if reader is None or (is_mini and not self._is_same(reader, card, example)):
            return []
        for image in example.images:
            if (reader, image) not in self._copies:
                has_room = sum(copy is not None for copy in self._copies.values()) < MOST
                copy = self._copy(reader, image, is_clip) if has_room else None
                self._copies[reader, image] = copy
        copies = [self._copies[reader, image] for image in example.images]
        pictures = [copy for copy in copies if copy]
        return pictures if len(pictures) == len(copies) else []

    def _reader(self, spec: Mapping[str, Any], name: str, is_clip: bool) -> Reader | None:
        """The reader of the run's data; None where they are not at hand."""
        if not self.has_media or name not in READERS:
            return None
        root = str(spec.get("root") or "")
        if spec.get("edition") == "mini" and not root:
            if is_clip not in self._mini:
                self._mini[is_clip] = self._make_mini(is_clip)
            root = self._mini[is_clip]
        if (name, root) not in self._readers:
            has_root = root != "" and Path(root).is_dir()
            self._readers[name, root] = load_reader(name, Path(root)) if has_root else None
        return self._readers[name, root]

    def _make_mini(self, is_clip: bool) -> str:
        """The folder of the mini edition; empty where it cannot be made."""
        what = "clips" if is_clip else "pictures"
        reasons = [f"The pages show the {what} of examples. --no-media leaves them out."]

        def say(step: str) -> None:
            while reasons:
                self.say(reasons.pop())
            self.say(f"making the mini edition, which these {what} come from: {step}")

        try:
            return str(mini_root("video" if is_clip else "image", say))
        except (MissingError, UsageError, OSError) as error:
            self.say(f"no {what} of the mini edition: {error}")
            return ""

    def _is_same(self, reader: Reader, card: Mapping[str, Any], example: Prediction) -> bool:
        """Whether a generated example is the one that was predicted: another world has its ids."""
        if reader not in self._examples:
            splits = as_table(as_table(card.get("splits")).get("mini")).get("test")
            known = [split for split in as_lines(splits) if split in reader.splits]
            self._examples[reader] = {item.id: item for name in known for item in reader.read(name)}
        generated = self._examples[reader].get(example.id)
        if generated is None or cut(generated.text) != example.text:
            return False
        texts = {text for text, _ in example.references}
        has_answer = bool(generated.text or texts & {*generated.targets})
        return generated.images == example.images and has_answer

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
        alt = f"Frames of clip {image}" if is_clip else f"Picture {image}"
        return Picture(name, *picture.size, alt)


def _strip(frames: Sequence[Image.Image]) -> Image.Image:
    """Some frames of a clip, evenly spread, side by side."""
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

    charts = {}
    for cost in COSTS:
        drawn, _ = points(board, cost)
        methods = [point.row.label for point in drawn if not point.row.is_floor]
        if len(methods) < 2:
            continue
        plotted = board
        if len(methods) > MOST_DRAWN:
            kept = {p.row.label for p in drawn if p.is_on_frontier or p.row.is_floor}
            kept.update(methods[:MOST_DRAWN])
            note = f"Drawn: the frontier and the first {MOST_DRAWN} of {len(methods)} methods."
            rows = [row for row in board.rows if row.label in kept]
            marked = board.marked or board.rows
            plotted = replace(board, rows=rows, marked=marked, notes=[*board.notes, note])
        with warnings.catch_warnings():
            # the browser draws letters that the font lacks
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            plot = pareto([plotted], [cost], width=PARETO_WIDTH)
            alt = f"{plot.title}. The table above holds the same numbers."
            charts[cost.title] = _chart(plot, f"{anchor}_{cost.name}", alt, write)
    return charts


def loss_chart(row: Row, logs: Sequence[Log], name: str, write: Write) -> Picture | None:
    """Draw the training losses of a row, a line for each task; None where there are too few."""
    from vlbench.leaderboard.plots import loss_plot

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        plot = loss_plot(row.label, logs)
        return _chart(plot, name, plot.description, write) if plot else None


def _chart(plot: Plot, name: str, alt: str, write: Write) -> Picture:
    from vlbench.leaderboard.plots import encoded

    write(f"charts/{name}.svg", encoded(plot, "svg"))
    width, height = (round(96 * inches) for inches in plot.figure.get_size_inches())
    return Picture(f"charts/{name}.svg", width, height, alt)
