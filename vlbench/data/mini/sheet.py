"""A contact sheet of a mini edition: pictures of each task with what is asked about them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

PICTURE = 192  # three times the pictures' own 64 pixels
GAP = 24
COLUMNS = 6
WIDTH = GAP + COLUMNS * (PICTURE + GAP)
PADDING, LINE, TEXT_SIZE = 8, 21, 15
HEADING, TITLE = 64, 96  # heights above a row of cards and above them all
INK, FAINT, GOOD, BAD = "#1d2330", "#6b7385", "#1f7a4d", "#b3372f"
PAPER, CARD, EDGE = "#eef0f4", "#ffffff", "#d5d9e2"


@dataclass(frozen=True, slots=True)
class Card:
    """Pictures side by side, and texts below them, each in its colour."""

    pictures: tuple[Path, ...]
    texts: tuple[tuple[str, str], ...]

    @property
    def width(self) -> int:
        """Pixels that the pictures take."""
        return len(self.pictures) * (PICTURE + GAP) - GAP

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The texts as lines that fit the width."""
        return [(line, ink) for text, ink in self.texts for line in _wrapped(text, self.width)]


Row = tuple[str, str, list[Card]]
"""A task's title, what its cards show, and the cards."""


def contact_sheet(root: Path) -> Image.Image:
    """One row of cards for each task about pictures."""
    rows = [
        ("VQAv2", "a question, and the most frequent of its ten answers", _vqa(root)),
        ("GQA", "a question and its answer", _gqa(root)),
        ("NLVR2", "a sentence, and whether it is true of the two pictures", _nlvr2(root)),
        ("COCO captions", "two of a picture's five captions", _coco(root)),
    ]
    return lay_out(rows, _load(root / "mini.json"))


def lay_out(rows: list[Row], made: dict[str, Any]) -> Image.Image:
    """The rows below each other; `made` says of which version and seed they are."""
    tops = [TITLE]
    for _, _, cards in rows:
        tops.append(tops[-1] + HEADING + _height(cards) + GAP)
    sheet = Image.new("RGB", (WIDTH, tops[-1]), PAPER)
    canvas = ImageDraw.Draw(sheet)
    canvas.text((GAP, 20), "The mini edition of vlbench", INK, _font(34))
    told = f"version {made['version']}, seed {made['seed']}: a generated world in official formats"
    canvas.text((GAP, 64), told, FAINT, _font(TEXT_SIZE))
    for top, (title, subtitle, cards) in zip(tops, rows, strict=False):
        canvas.text((GAP, top + 6), title, INK, _font(26))
        beside = GAP + int(_font(26).getlength(title)) + 14
        canvas.text((beside, top + 17), subtitle, FAINT, _font(TEXT_SIZE))
        left, height = GAP, _height(cards)
        for card in cards:
            _paste(sheet, (left, top + HEADING - 14), card, height)
            left += card.width + GAP
    return sheet


def _height(cards: list[Card]) -> int:
    """The height of a row's cards: that of the tallest."""
    most = max((len(card.lines) for card in cards), default=0)
    return PICTURE + 3 * PADDING + LINE * most


def _paste(sheet: Image.Image, corner: tuple[int, int], card: Card, height: int) -> None:
    left, top = corner
    canvas = ImageDraw.Draw(sheet)
    box = (left - PADDING, top, left + card.width + PADDING, top + height)
    canvas.rounded_rectangle(box, 8, fill=CARD, outline=EDGE)
    for number, picture in enumerate(card.pictures):
        with Image.open(picture) as image:
            big = image.convert("RGB").resize((PICTURE, PICTURE), Image.Resampling.BICUBIC)
        sheet.paste(big, (left + number * (PICTURE + GAP), top + PADDING))
    for number, (line, ink) in enumerate(card.lines):
        below = top + PICTURE + 2 * PADDING + number * LINE
        canvas.text((left, below), line, ink, _font(TEXT_SIZE))


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(TEXT_SIZE).getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _varied(cards: Iterable[tuple[str, Card]], count: int) -> list[Card]:
    """Cards of as many kinds as there are, no picture twice."""
    by_kind: dict[str, list[Card]] = defaultdict(list)
    for kind, card in cards:
        by_kind[kind].append(card)
    kinds = list(by_kind.values())
    chosen: list[Card] = []
    for turn in range(4 * count):
        used = {picture for card in chosen for picture in card.pictures}
        fresh = [card for card in kinds[turn % len(kinds)] if used.isdisjoint(card.pictures)]
        if fresh and len(chosen) < count:
            chosen.append(fresh[turn % len(fresh)])
    return chosen


def _vqa(root: Path) -> list[Card]:
    half = "train2014"
    questions = _load(root / "vqa" / f"v2_OpenEnded_mscoco_{half}_questions.json")["questions"]
    answers = _load(root / "vqa" / f"v2_mscoco_{half}_annotations.json")["annotations"]
    folder = root / "COCO" / "images" / half
    return _varied(
        (
            (
                answer["question_type"],
                Card(
                    (folder / f"COCO_{half}_{question['image_id']:012d}.png",),
                    ((question["question"], INK), (answer["multiple_choice_answer"], GOOD)),
                ),
            )
            for question, answer in zip(questions, answers, strict=True)
        ),
        COLUMNS,
    )


def _gqa(root: Path) -> list[Card]:
    folder = root / "GQA" / "images"
    return _varied(
        (
            (
                record["types"]["structural"] + record["types"]["semantic"],
                Card(
                    (folder / f"{record['imageId']}.png",),
                    ((record["question"], INK), (record["answer"], GOOD)),
                ),
            )
            for record in _load(root / "GQA" / "train_balanced_questions.json").values()
        ),
        COLUMNS,
    )


def _nlvr2(root: Path) -> list[Card]:
    lines = (root / "nlvr2" / "dev.json").read_text(encoding="utf-8").splitlines()
    folder = root / "nlvr2" / "images" / "dev"
    cards = []
    for record in map(json.loads, lines):
        stem = record["identifier"].rpartition("-")[0]
        pictures = (folder / f"{stem}-img0.png", folder / f"{stem}-img1.png")
        verdict = (record["label"].lower(), GOOD if record["label"] == "True" else BAD)
        kind = " ".join(record["sentence"].split()[:2])
        cards.append((kind, Card(pictures, ((record["sentence"], INK), verdict))))
    return _varied(cards, COLUMNS // 2)


def _coco(root: Path) -> list[Card]:
    images = _load(root / "COCO" / "dataset_coco.json")["images"]
    return [
        Card(
            (root / "COCO" / "images" / image["filepath"] / image["filename"],),
            tuple(
                (sentence["raw"], ink)
                for sentence, ink in zip(image["sentences"], (INK, FAINT), strict=False)
            ),
        )
        for image in images[len(images) // 2 :][:COLUMNS]
    ]
