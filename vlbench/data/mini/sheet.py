"""Contact sheets of a mini edition: pictures, or frames of clips, with what is said about them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from vlbench.data.mini.clips import SECONDS_PER_FRAME

PICTURE = 192  # three times the pictures' own 64 pixels
GAP = 24
COLUMNS = 6
FRAMES = 3  # of a clip that are shown, evenly spread
WIDTH = GAP + COLUMNS * (PICTURE + GAP)
PADDING, LINE, TEXT_SIZE = 8, 21, 15
HEADING, TITLE = 64, 96  # heights above a row of cards and above them all
INK, FAINT, GOOD, BAD = "#1d2330", "#6b7385", "#1f7a4d", "#b3372f"
PAPER, CARD, EDGE = "#eef0f4", "#ffffff", "#d5d9e2"


class Card(NamedTuple):
    """Pictures side by side, and texts below them, each in its colour."""

    pictures: list[Path]
    texts: list[tuple[str, str]]

    @property
    def width(self) -> int:
        """Pixels that the pictures take."""
        return len(self.pictures) * (PICTURE + GAP) - GAP

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The texts as lines that fit the width."""
        return [(line, ink) for text, ink in self.texts for line in _wrapped(text, self.width)]


Kinds = Iterable[tuple[str, Card]]  # cards, each with what kind it is of


def contact_sheet(root: Path) -> Image.Image:
    """One row of cards for each task about pictures."""
    rows = {
        ("VQAv2", "a question, and the most frequent of its ten answers"): _varied(_vqa(root)),
        ("GQA", "a question and its answer"): _varied(_gqa(root)),
        ("NLVR2", "a sentence, and whether it is true of the two pictures"): _varied(_nlvr2(root)),
        ("COCO captions", "two of a picture's five captions"): _coco(root),
    }
    return _lay_out(rows, _load(root / "mini.json"))


def video_sheet(root: Path) -> Image.Image:
    """One row of cards for each task about clips."""
    moment = "a question about a moment, with five choices"
    rows = {
        ("TVQA", moment): _clips(root, "tv", "tvqa/tvqa_train.jsonl"),
        ("How2QA", "with four choices"): _clips(root, "how2", "how2qa/how2qa_train_release.jsonl"),
        ("TVC", "two descriptions of a moment"): _clips(root, "tv", "tvc/tvc_train_release.jsonl"),
        ("YC2C", "the steps of a clip"): _clips(root, "yc2", "yc2c/yc2c_train_release.jsonl"),
    }
    return _lay_out(rows, _load(root / "mini-video.json"))


def _lay_out(rows: dict[tuple[str, str], list[Card]], edition: dict[str, Any]) -> Image.Image:
    """Rows of cards below their titles; `edition` has version and seed."""
    heights = [
        PICTURE + 3 * PADDING + LINE * max((len(card.lines) for card in cards), default=0)
        for cards in rows.values()
    ]
    sheet = Image.new(
        "RGB", (WIDTH, TITLE + sum(HEADING + height + GAP for height in heights)), PAPER
    )
    canvas = ImageDraw.Draw(sheet)
    canvas.text((GAP, 20), "The mini edition of vlbench", INK, _font(34))
    version, seed = edition["version"], edition["seed"]
    origin = f"version {version}, seed {seed}: a generated world in official formats"
    canvas.text((GAP, 64), origin, FAINT, _font(TEXT_SIZE))
    top = TITLE
    for ((title, subtitle), cards), height in zip(rows.items(), heights, strict=True):
        canvas.text((GAP, top + 6), title, INK, _font(26))
        beside = GAP + int(_font(26).getlength(title)) + 14
        canvas.text((beside, top + 17), subtitle, FAINT, _font(TEXT_SIZE))
        left = GAP
        for card in cards:
            _paste(sheet, left, top + HEADING - 14, card, height)
            left += card.width + GAP
        top += HEADING + height + GAP
    return sheet


def _paste(sheet: Image.Image, left: int, top: int, card: Card, height: int) -> None:
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


def _load_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _varied(cards: Kinds) -> list[Card]:
    """A row of cards of as many kinds as there are, no picture twice."""
    by_kind: dict[str, list[Card]] = defaultdict(list)
    for kind, card in cards:
        by_kind[kind].append(card)
    kinds = list(by_kind.values())
    count = COLUMNS // len(kinds[0][0].pictures)
    chosen: list[Card] = []
    for turn in range(4 * count):
        used = {picture for card in chosen for picture in card.pictures}
        fresh = [card for card in kinds[turn % len(kinds)] if used.isdisjoint(card.pictures)]
        if fresh and len(chosen) < count:
            chosen.append(fresh[turn % len(fresh)])
    return chosen


def _vqa(root: Path) -> Kinds:
    half = "train2014"
    questions = _load(root / "vqa" / f"v2_OpenEnded_mscoco_{half}_questions.json")["questions"]
    annotations = _load(root / "vqa" / f"v2_mscoco_{half}_annotations.json")["annotations"]
    for question, annotation in zip(questions, annotations, strict=True):
        name = f"COCO_{half}_{question['image_id']:012d}.png"
        texts = [(question["question"], INK), (annotation["multiple_choice_answer"], GOOD)]
        yield annotation["question_type"], Card([root / "COCO" / "images" / half / name], texts)


def _gqa(root: Path) -> Kinds:
    for record in _load(root / "GQA" / "train_balanced_questions.json").values():
        texts = [(record["question"], INK), (record["answer"], GOOD)]
        kind = record["types"]["structural"] + record["types"]["semantic"]
        yield kind, Card([root / "GQA" / "images" / f"{record['imageId']}.png"], texts)


def _nlvr2(root: Path) -> Kinds:
    for record in _load_lines(root / "nlvr2" / "dev.json"):
        stem = record["identifier"].rpartition("-")[0]
        pictures = [root / "nlvr2" / "images" / "dev" / f"{stem}-img{n}.png" for n in (0, 1)]
        verdict = (record["label"].lower(), GOOD if record["label"] == "True" else BAD)
        kind = " ".join(record["sentence"].split()[:2])
        yield kind, Card(pictures, [(record["sentence"], INK), verdict])


def _coco(root: Path) -> list[Card]:
    images = _load(root / "COCO" / "dataset_coco.json")["images"]
    cards = []
    for image in images[len(images) // 2 :][:COLUMNS]:
        first, second = (sentence["raw"] for sentence in image["sentences"][:2])
        picture = root / "COCO" / "images" / image["filepath"] / image["filename"]
        cards.append(Card([picture], [(first, INK), (second, FAINT)]))
    return cards


def _clips(root: Path, source: str, file: str) -> list[Card]:
    """The first clips of an annotation file with what its first record says of each."""
    video = root / "video"
    by_clip: dict[str, Any] = {}
    for record in _load_lines(video / "ann" / file):
        by_clip.setdefault(record["vid_name"], record)
    subtitles = {
        record["vid_name"]: " ".join(line["text"].strip() for line in record["sub"])
        for record in _load_lines(video / "ann" / f"{source}_subtitles.jsonl")
    }
    cards = []
    for clip, record in list(by_clip.items())[: COLUMNS // FRAMES]:
        frames = sorted((video / "frames" / source / clip).glob("*.png"))
        spread = [frames[(2 * n + 1) * len(frames) // (2 * FRAMES)] for n in range(FRAMES)]
        length = f"{len(frames)} frames, {len(frames) * SECONDS_PER_FRAME:g} s"
        cards.append(Card(spread, [(f"{length}. {subtitles[clip]}", FAINT), *_clip_texts(record)]))
    return cards


def _clip_texts(record: Any) -> Iterator[tuple[str, str]]:
    """A question with its choices and the right one, or two descriptions."""
    if "q" in record:
        choices = [f"{key} {record[key]}" for key in map("a{}".format, range(5)) if key in record]
        yield f"{record['q']} ({record['ts']} s)", INK
        yield "  ".join(choices), FAINT
        yield f"a{record['answer_idx']}", GOOD
    for description in record.get("descs", [])[:2]:
        moment = f"({record['ts'][0]:g}-{record['ts'][1]:g} s) " if "ts" in record else ""
        yield moment + description["desc"], GOOD
