"""A contact sheet of a mini edition: pictures of each task with what is asked about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

PICTURE = 176
GAP = 24
CARD_HEIGHT = PICTURE + 144
COLUMNS = 6
INK, FAINT, GOOD, PAPER, CARD = "#1d2330", "#6b7385", "#1f7a4d", "#eef0f4", "#ffffff"


def contact_sheet(root: Path) -> Image.Image:
    """One row of cards for each task."""
    rows = [
        ("VQAv2", "question and the most frequent of ten answers", _vqa(root)),
        ("GQA", "question and answer", _gqa(root)),
        ("NLVR2", "is the sentence true of the pair?", _nlvr2(root)),
        ("COCO captions", "two of five captions", _coco(root)),
    ]
    width = GAP + COLUMNS * (PICTURE + GAP)
    row_height = 62 + CARD_HEIGHT + GAP
    sheet = Image.new("RGB", (width, 20 + row_height * len(rows)), PAPER)
    canvas = ImageDraw.Draw(sheet)
    for number, (title, subtitle, cards) in enumerate(rows):
        top = 20 + number * row_height
        canvas.text((GAP, top), title, INK, _font(26))
        canvas.text((GAP, top + 34), subtitle, FAINT, _font(15))
        left = GAP
        for pictures, lines, answer in cards:
            left = _card(sheet, left, top + 62, pictures, lines, answer)
    return sheet


Card = tuple[list[Path], str, str]


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _card(
    sheet: Image.Image, left: int, top: int, pictures: list[Path], text: str, answer: str
) -> int:
    """Draw one card, return where the next one starts."""
    canvas = ImageDraw.Draw(sheet)
    width = len(pictures) * (PICTURE + GAP) - GAP
    canvas.rounded_rectangle((left - 8, top, left + width + 8, top + CARD_HEIGHT), 10, fill=CARD)
    for number, picture in enumerate(pictures):
        with Image.open(picture) as image:
            big = image.convert("RGB").resize((PICTURE, PICTURE), Image.Resampling.LANCZOS)
        sheet.paste(big, (left + number * (PICTURE + GAP), top + 8))
    below = top + PICTURE + 16
    for line in _wrapped(text, width):
        canvas.text((left, below), line, INK, _font(15))
        below += 20
    for line in _wrapped(answer, width):
        canvas.text((left, below), line, GOOD, _font(15))
        below += 20
    return left + width + GAP


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(15).getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if text else []


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _vqa(root: Path) -> list[Card]:
    half = "train2014"
    questions = _load(root / "vqa" / f"v2_OpenEnded_mscoco_{half}_questions.json")["questions"]
    answers = _load(root / "vqa" / f"v2_mscoco_{half}_annotations.json")["annotations"]
    cards = []
    for n in range(0, 7 * COLUMNS, 7):
        image = root / "COCO" / "images" / half / f"COCO_{half}_{questions[n]['image_id']:012d}.png"
        cards.append(([image], questions[n]["question"], answers[n]["multiple_choice_answer"]))
    return cards


def _gqa(root: Path) -> list[Card]:
    questions = list(_load(root / "GQA" / "train_balanced_questions.json").values())
    return [
        ([root / "GQA" / "images" / f"{q['imageId']}.png"], q["question"], q["answer"])
        for q in questions[: 6 * COLUMNS : 6]
    ]


def _nlvr2(root: Path) -> list[Card]:
    lines = (root / "nlvr2" / "dev.json").read_text(encoding="utf-8").splitlines()
    cards = []
    for line in lines[::9][: COLUMNS // 2]:
        row = json.loads(line)
        stem = row["identifier"].rsplit("-", 1)[0]
        pictures = [root / "nlvr2" / "images" / "dev" / f"{stem}-img{side}.png" for side in (0, 1)]
        cards.append((pictures, row["sentence"], row["label"].lower()))
    return cards


def _coco(root: Path) -> list[Card]:
    images = _load(root / "COCO" / "dataset_coco.json")["images"]
    return [
        (
            [root / "COCO" / "images" / image["filepath"] / image["filename"]],
            image["sentences"][0]["raw"],
            image["sentences"][1]["raw"],
        )
        for image in images[11 : 11 + COLUMNS]
    ]
