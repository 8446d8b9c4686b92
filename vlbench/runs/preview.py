"""`vlbench data preview`: a page of what a backbone will see of a task, before anything trains.

The page is one file, with small copies of the pictures in it; it loads nothing and runs nothing.
"""

from __future__ import annotations

import io
from base64 import b64encode
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from vlbench.backbones import build_backbone, build_tokenizer, find_backbone
from vlbench.cards.schema import Edition, TaskCard, TrainSettings
from vlbench.data.batches import FeatureData, TaskData
from vlbench.data.chat import ChatData
from vlbench.data.example import Example
from vlbench.data.images import find_pictures
from vlbench.data.pictures import Pictures
from vlbench.data.prepare import scored_splits
from vlbench.data.readers import card_reader
from vlbench.data.table import ExampleTable, concatenate, indexed
from vlbench.errors import MissingError
from vlbench.runs.result import references
from vlbench.text import printable_lines

SIDE = 256
"""Longest side of a picture's copy, in pixels."""
N_FRAMES = 8  # of a clip, at the most
MOST_TARGETS = 10
"""Targets that are shown of one example."""


class Shown(NamedTuple):
    """An example as the page shows it."""

    id: str
    origin: str
    pictures: list[tuple[str, str]]  # (name, data: address)
    text: str
    targets: list[tuple[str, str]]  # (text, percent of the draws)
    references: str


def preview_page(
    card: TaskCard, edition: Edition, root: Path, backbone: str, path: Path | None, count: int
) -> str:
    """The page of `count` examples of each split, spread over it, as the backbone reads them."""
    reader = card_reader(card, root)
    tables = {split: indexed(reader, split, train=False) for split in scored_splits(card, edition)}
    chosen = {split: _spread(table, count) for split, table in tables.items()}
    files, faults = find_pictures(reader, concatenate([*chosen.values()]))
    if faults.texts:
        raise MissingError("\n".join(faults.texts))
    pictures = Pictures(files, N_FRAMES)
    data = _task_data(card, backbone, path, pictures)
    splits = [
        (split, len(table), [_shown(e, data, pictures, reader.origin) for e in chosen[split]])
        for split, table in tables.items()
    ]
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined)
    return pages.get_template("preview.html").render(card=card, backbone=backbone, splits=splits)


def _spread(table: ExampleTable, count: int) -> ExampleTable:
    """At most `count` examples, as far from each other as can be."""
    count = min(count, len(table))
    return table.take([(2 * n + 1) * len(table) // (2 * count) for n in range(count)])


def _task_data(card: TaskCard, backbone: str, path: Path | None, pictures: Pictures) -> TaskData:
    """The task's texts as the backbone's tokenizer or chat template spells them, no weights."""
    shapes: Any = build_backbone(backbone, path, meta=True, visual=card.visual)
    tokenizer, settings = build_tokenizer(backbone, path), TrainSettings()
    if find_backbone(backbone).reads_pictures:
        return ChatData(card, [], tokenizer, settings, pictures, shapes.conversation)
    no_store: Any = None  # texts need none
    return FeatureData(card, [], tokenizer, settings, no_store, positions=shapes.positions)


def _shown(example: Example, data: TaskData, pictures: Pictures, origin: Any) -> Shown:
    total = sum(example.targets.values()) or 1.0
    targets = [
        (printable_lines(data.rendered_target(answer)), f"{100 * score / total:.0f} %")
        for answer, score in list(example.targets.items())[:MOST_TARGETS]
    ]
    return Shown(
        id=printable_lines(example.id),
        origin=next(filter(None, map(origin, example.images)), ""),
        pictures=[
            (printable_lines(name), _address(picture))
            for name in example.images
            for picture in pictures.open(name)
        ],
        text=printable_lines(data.rendered(example)),
        targets=targets,
        references=printable_lines(references(example)),
    )


def _address(picture: Image.Image) -> str:
    """A small copy of a picture as a data: address."""
    picture.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=85)
    return f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
