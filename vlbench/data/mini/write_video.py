"""Writes the mini edition's clips: frames as PNG, annotations in the formats of four datasets.

As in reality TVQA and TVC are about the same clips. The folders and file names are those of the
full edition (docs/datasets.md); `held_out` is a labelled test split, which VALUE keeps to itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any

from vlbench.data.mini import VIDEO_VERSION
from vlbench.data.mini.clip_captions import describe, steps
from vlbench.data.mini.clip_questions import (
    HOW2QA_FAMILIES,
    TVQA_FAMILIES,
    ClipQuestion,
    ask,
)
from vlbench.data.mini.clips import Clip, Style, clips
from vlbench.data.mini.draw import draw
from vlbench.data.mini.write import Progress

SPLITS = {"train": "train", "val": "val", "test": "held_out"}
SIZES = {
    "tv": {"train": 500, "val": 80, "test": 160},
    "how2": {"train": 500, "val": 80, "test": 160},
    "yc2": {"train": 800, "val": 120, "test": 240},
}
"""Source -> part -> clips."""
STYLES = {
    "tv": Style(shots=(2, 3, 4), pace=(3,)),
    "how2": Style(shots=(2, 3, 4), pace=(2, 3, 4, 5)),
    "yc2": Style(shots=(1, 2, 3), pace=(2, 3, 4, 5)),
}
"""A few clips of how2 have more frames than the sixteen that mini-bart reads, most have fewer."""
SHOWS = {"castle": "Castle", "friends": "Friends", "house": "House M.D."}
QUESTIONS = {"tvqa": 5, "how2qa": 4}
"""At the most, of a clip."""
MOMENTS = 2
"""Moments of a clip that TVC describes: in two ways each in train, else in four."""

Record = dict[str, Any]
Annotate = Callable[[str, Clip, str, "count[int]", Random], Iterator[Record]]


def write_video(
    folder: Path,
    seed: int,
    sizes: dict[str, dict[str, int]] = SIZES,
    progress: Progress = lambda _: None,
) -> None:
    """Write all clips into an empty folder; the same seed gives the same bytes."""
    for source, annotators in SOURCES.items():
        progress(f"clips of {' and '.join(pattern.partition('/')[0] for pattern in annotators)}")
        _write_source(folder / "video", source, Random(f"{source} {seed}"), sizes[source])
    made = {"version": VIDEO_VERSION, "seed": seed}
    (folder / "mini-video.json").write_text(json.dumps(made), encoding="utf-8")


def _write_source(video: Path, source: str, random: Random, sizes: dict[str, int]) -> None:
    subtitles: list[Record] = []
    ids: dict[str, count[int]] = {pattern: count() for pattern in SOURCES[source]}
    for part, size in sizes.items():
        drawn = islice(clips(part, random, STYLES[source]), size)
        named = {_name(source, len(subtitles) + n): clip for n, clip in enumerate(drawn)}
        for pattern, annotate in SOURCES[source].items():
            records = [
                record
                for name, clip in named.items()
                for record in annotate(name, clip, part, ids[pattern], random)
            ]
            _write_lines(video / "ann" / pattern.format(split=SPLITS[part]), records)
        for name, clip in named.items():
            subtitles.append({"vid_name": name, "sub": [line.record for line in clip.lines]})
            _write_frames(video / "frames" / source / name, clip)
    _write_lines(video / "ann" / f"{source}_subtitles.jsonl", subtitles)


def _name(source: str, number: int) -> str:
    """As the datasets name their clips: `house_s03e12_seg02_clip_17`, `25848`, `-jyO7IaGWLY_10`."""
    if source == "tv":
        show = list(SHOWS)[number % len(SHOWS)]
        return f"{show}_s01e{number // 100 + 1:02d}_seg01_clip_{number % 100:02d}"
    if source == "how2":
        return str(25_000 + number)
    return f"-mini{number // 5:05d}_{number % 5}"


def _tvqa(name: str, clip: Clip, part: str, ids: count[int], random: Random) -> Iterator[Record]:
    show = SHOWS[name.partition("_")[0]]
    for asked in ask(clip, TVQA_FAMILIES, QUESTIONS["tvqa"], 5, random):
        yield {**_question(asked, name, next(ids)), "show_name": show}


def _how2qa(name: str, clip: Clip, part: str, ids: count[int], random: Random) -> Iterator[Record]:
    for asked in ask(clip, HOW2QA_FAMILIES, QUESTIONS["how2qa"], 4, random):
        yield _question(asked, name, next(ids))


def _question(asked: ClipQuestion, name: str, number: int) -> Record:
    choices = {f"a{n}": choice for n, choice in enumerate(asked.choices)}
    return {
        "vid_name": name,
        "qid": number,
        "q": asked.text,
        "ts": asked.moment,
        **choices,
        "answer_idx": asked.right,
    }


def _tvc(name: str, clip: Clip, part: str, ids: count[int], random: Random) -> Iterator[Record]:
    for shot in random.sample(clip.shots, min(MOMENTS, len(clip.shots))):
        texts = describe(shot, 2 if part == "train" else 4, random)
        number = next(ids)
        yield {
            "vid_name": name,
            "duration": clip.duration,
            "ts": [shot.start, shot.end],
            "descs": [
                {"desc": text, "desc_id": 4 * number + n, "type": "v", "from_retrieval": n == 0}
                for n, text in enumerate(texts)
            ],
            "clip_id": number,
        }


def _yc2c(name: str, clip: Clip, part: str, ids: count[int], random: Random) -> Iterator[Record]:
    number = next(ids)
    yield {
        "vid_name": name,
        "clip_id": number,
        "duration": round(clip.duration),
        "descs": [{"desc": steps(clip), "desc_id": number}],
    }


SOURCES: dict[str, dict[str, Annotate]] = {
    "tv": {"tvqa/tvqa_{split}.jsonl": _tvqa, "tvc/tvc_{split}_release.jsonl": _tvc},
    "how2": {"how2qa/how2qa_{split}_release.jsonl": _how2qa},
    "yc2": {"yc2c/yc2c_{split}_release.jsonl": _yc2c},
}
"""Where clips come from -> annotation file -> what is said of a clip."""


def _write_frames(folder: Path, clip: Clip) -> None:
    folder.mkdir(parents=True)
    for number, scene in enumerate(clip.frames(), 1):
        draw(scene).save(folder / f"{number:05d}.png", compress_level=1)


def _write_lines(path: Path, records: Iterable[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")
