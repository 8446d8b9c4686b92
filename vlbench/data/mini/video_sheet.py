"""A contact sheet of the mini edition's clips: frames, subtitles, and what is asked or told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from vlbench.data.mini.clips import SECONDS_PER_FRAME
from vlbench.data.mini.sheet import COLUMNS, FAINT, GOOD, INK, Card, lay_out

FRAMES = 3
"""Of a clip that are shown, evenly spread."""
EACH = COLUMNS // FRAMES
Record = dict[str, Any]


def video_sheet(root: Path) -> Image.Image:
    """One row of cards for each task about clips."""
    rows = [
        (
            "TVQA",
            "a question about a moment, with five choices",
            _questions(root, "tv", "tvqa/tvqa_train.jsonl"),
        ),
        (
            "How2QA",
            "with four choices",
            _questions(root, "how2", "how2qa/how2qa_train_release.jsonl"),
        ),
        (
            "TVC",
            "two descriptions of a moment",
            _captions(root, "tv", "tvc/tvc_train_release.jsonl"),
        ),
        ("YC2C", "the steps of a clip", _captions(root, "yc2", "yc2c/yc2c_train_release.jsonl")),
    ]
    made: Record = json.loads((root / "mini-video.json").read_text(encoding="utf-8"))
    return lay_out(rows, made)


def _questions(root: Path, source: str, file: str) -> list[Card]:
    cards = []
    for clip, record in _one_of_each_clip(root, file):
        choices = [(key, record[key]) for key in ("a0", "a1", "a2", "a3", "a4") if key in record]
        listed = "  ".join(f"{key} {text}" for key, text in choices)
        texts = [(f"{record['q']} ({record['ts']} s)", INK), (listed, FAINT)]
        texts.append((f"a{record['answer_idx']}", GOOD))
        cards.append(_card(root, source, clip, texts))
    return cards


def _captions(root: Path, source: str, file: str) -> list[Card]:
    cards = []
    for clip, record in _one_of_each_clip(root, file):
        moment = f"({record['ts'][0]:g}-{record['ts'][1]:g} s) " if "ts" in record else ""
        texts = [(f"{moment}{each['desc']}", GOOD) for each in record["descs"][:2]]
        cards.append(_card(root, source, clip, texts))
    return cards


def _card(root: Path, source: str, clip: str, texts: list[tuple[str, str]]) -> Card:
    frames = sorted((root / "video" / "frames" / source / clip).glob("*.png"))
    shown = [frames[(2 * n + 1) * len(frames) // (2 * FRAMES)] for n in range(FRAMES)]
    said = _subtitles(root, source)[clip]
    length = f"{len(frames)} frames, {len(frames) * SECONDS_PER_FRAME:g} s"
    return Card(tuple(shown), ((f"{length}. {said}", FAINT), *texts))


def _one_of_each_clip(root: Path, file: str) -> list[tuple[str, Record]]:
    by_clip: dict[str, Record] = {}
    for record in _lines(root / "video" / "ann" / file):
        by_clip.setdefault(record["vid_name"], record)
    return list(by_clip.items())[:EACH]


def _subtitles(root: Path, source: str) -> dict[str, str]:
    return {
        record["vid_name"]: " ".join(line["text"].strip() for line in record["sub"])
        for record in _lines(root / "video" / "ann" / f"{source}_subtitles.jsonl")
    }


def _lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
