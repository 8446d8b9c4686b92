"""Pictures of the site: small copies of what examples are about, and the plots of boards and runs.

Copies come from where the run read them: the mini edition in the cache (made if need be), else the
root that its spec names. Results can come from anybody, so only vlbench's own readers are asked,
and for no id that could lead out of their folders.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from vlbench.backbones import Visual
from vlbench.data.example import Example
from vlbench.data.images import open_clip, open_image
from vlbench.data.mini.write import mini_root
from vlbench.data.readers import READERS, load_reader
from vlbench.data.readers.base import Reader
from vlbench.errors import MissingError, UsageError
from vlbench.leaderboard.board import Board, Row
from vlbench.leaderboard.plots.points import COSTS, points
from vlbench.leaderboard.results import Log
from vlbench.leaderboard.site.run_files import Prediction, cut, is_plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 224
"""Longest side of a copy in pixels."""
N_FRAMES = 6
"""Of a clip, side by side."""
FRAME_SIDE = 96
MOST = 1500
"""Pictures on a site; beyond them there is text only."""
MOST_DRAWN = 40
"""Methods of a board in a Pareto plot, beside those on the frontier."""
PARETO_WIDTH, LOSS_WIDTH = 9.0, 6.0
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
    """The pictures of examples: each is copied when it is first wanted."""

    def __init__(self, write: Write, say: Say = lambda _: None, has_media: bool = True) -> None:
        self.write = write
        self.has_media = has_media
        self.say = say
        self._mini: dict[Visual, str] = {}
        self._readers: dict[tuple[str, str], Reader | None] = {}
        self._examples: dict[tuple[str, str], dict[str, Example]] = {}
        self._copied: dict[tuple[str, str, str], Picture | None] = {}

    def of(
        self, spec: Mapping[str, Any], card: Mapping[str, Any], example: Prediction
    ) -> list[Picture]:
        """Return the pictures of an example; none where one of them is not at hand."""
        if not self.has_media:
            return []
        name, root = str(card.get("reader", "")), self._root(spec, card)
        if (name, root) not in self._readers:
            is_ours = name in READERS and root != "" and Path(root).is_dir()
            self._readers[name, root] = load_reader(name, Path(root)) if is_ours else None
        reader = self._readers[name, root]
        if reader is None or not self._is_same(reader, spec, card, example):
            return []
        is_clip = card.get("visual") == "video"
        pictures = []
        for image in example.images:
            source = name, root, image
            if source not in self._copied:
                has_room = sum(copy is not None for copy in self._copied.values()) < MOST
                self._copied[source] = self._copy(reader, image, is_clip) if has_room else None
            pictures.append(self._copied[source])
        copies = [picture for picture in pictures if picture is not None]
        return copies if len(copies) == len(pictures) else []

    def _root(self, spec: Mapping[str, Any], card: Mapping[str, Any]) -> str:
        """Where the run's data lie; empty where the spec has no root, or they cannot be made."""
        if spec.get("edition") != "mini" or spec.get("root"):
            return str(spec.get("root") or "")
        visual: Visual = "video" if card.get("visual") == "video" else "image"
        if visual not in self._mini:
            self._mini[visual] = self._make_mini(visual)
        return self._mini[visual]

    def _make_mini(self, visual: Visual) -> str:
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

    def _is_same(
        self, reader: Reader, spec: Mapping[str, Any], card: Mapping[str, Any], example: Prediction
    ) -> bool:
        """Whether a generated example is the one that was predicted: another world has its ids."""
        if spec.get("edition") != "mini":
            return True
        source = str(card.get("reader")), str(reader.root)
        if source not in self._examples:
            splits = card.get("splits", {}).get("mini", {}).get("test", [])
            known = [split for split in splits if split in reader.splits]
            self._examples[source] = {item.id: item for name in known for item in reader.read(name)}
        generated = self._examples[source].get(example.id)
        if generated is None or (cut(generated.text), generated.images) != (
            example.text,
            example.images,
        ):
            return False
        return bool(generated.text) or any(
            text in generated.targets for text, _ in example.references
        )

    def _copy(self, reader: Reader, image: str, is_clip: bool) -> Picture | None:
        if not is_plain(image):
            return None
        try:
            path = reader.image_path(image)
            picture = _strip(open_clip(path)) if is_clip else open_image(path)
        except MissingError:
            return None
        picture.thumbnail((N_FRAMES * FRAME_SIDE, SIDE) if is_clip else (SIDE, SIDE))
        suffix, content = _encoded(picture)
        name = f"images/{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
        self.write(name, content)
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


def _encoded(picture: Image.Image) -> tuple[str, bytes]:
    """The picture as PNG where it is small or flat, else as WebP."""
    file = io.BytesIO()
    if picture.width * picture.height <= 64 * 64 * N_FRAMES * 2:
        picture.quantize(64).save(file, "PNG", optimize=True)
        return "png", file.getvalue()
    picture.save(file, "WEBP", quality=78)
    return "webp", file.getvalue()


def pareto_charts(board: Board, anchor: str, write: Write) -> dict[str, Picture]:
    """Draw a board's score against each cost that two methods have; return the plots by cost."""
    from vlbench.leaderboard.plots.pareto import pareto, pareto_text, pareto_title

    charts = {}
    for cost in COSTS:
        drawn = points(board, cost)
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
        heading = pareto_title([plotted], [cost])
        with _svg_style():
            charts[cost.title] = _write_svg(
                pareto([plotted], [cost], width=PARETO_WIDTH),
                f"charts/{anchor}_{cost.name}.svg",
                heading,
                pareto_text([plotted], [cost]),
                f"{heading}. The table above holds the same numbers.",
                write,
            )
    return charts


def loss_chart(row: Row, logs: Iterable[Log], name: str, write: Write) -> Picture | None:
    """Draw the training losses of a row, a line for each task; None where there are too few."""
    from vlbench.leaderboard.plots.curves import loss_lines, loss_plot

    lines = loss_lines(row, [*logs])
    if not lines:
        return None
    ends = [
        f"{task} from {line.mean[0]:.3g} to {line.mean[-1]:.3g}" for task, line in lines.items()
    ]
    text = f"Training loss by step, a line for each task: {'; '.join(ends)}."
    with _svg_style():
        figure = loss_plot(lines, f"Training loss of {row.label}", LOSS_WIDTH)
        return _write_svg(figure, f"charts/{name}.svg", "Training loss", text, text, write)


@contextmanager
def _svg_style() -> Iterator[None]:
    """The style of plots; letters that its font lacks are drawn by the browser with another."""
    from vlbench.leaderboard.plots.style import styled

    with styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _write_svg(figure: Figure, name: str, title: str, text: str, alt: str, write: Write) -> Picture:
    from vlbench.leaderboard.plots.style import encoded

    write(name, encoded(figure, "svg", title, text))
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(name, width, height, alt)
