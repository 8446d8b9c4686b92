"""Writes the clips of the mini edition: frames as PNG, annotations in the formats of VALUE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, islice
from pathlib import Path
from random import Random

from vlbench.data.mini import clips, records
from vlbench.data.mini.clips import Clip, ClipQuestion, Style
from vlbench.data.mini.records import Record

VIDEO_VERSION = 3  # raise it when the same seed would give other clips
Progress = Callable[[str], object]
Sizes = dict[str, dict[str, int]]

VIDEO_SPLITS = {"train": "train", "val": "val", "test": "held_out"}
VIDEO_SIZES: Sizes = {  # source -> part -> clips
    "tv": {"train": 320, "val": 80, "test": 200},
    "how2": {"train": 320, "val": 80, "test": 240},
    "yc2": {"train": 400, "val": 80, "test": 200},
}
STYLES = {
    "tv": Style(shots=(2, 3, 4), pace=(3,)),
    "how2": Style(shots=(2, 3, 4), pace=(2, 3, 4, 5)),
    "yc2": Style(shots=(2, 3, 4), pace=(2, 3, 4, 5)),
}
"""A few clips of how2 have more frames than the sixteen that mini-bart reads, most have fewer."""
SHOWS = {"castle": "Castle", "friends": "Friends", "house": "House M.D."}
MOMENTS = 2  # moments of a clip that TVC describes: in two ways each in train, else in four


def write_video(
    folder: Path, seed: int, sizes: Sizes = VIDEO_SIZES, progress: Progress = str
) -> None:
    """Write all clips into an empty folder; the same seed gives the same bytes."""
    for source, files in SOURCES.items():
        progress(f"clips of {' and '.join(file.partition('/')[0] for file in files)}")
        _write_source(folder / "video", source, Random(f"{source} {seed}"), sizes[source])
    records.write_json(folder / "mini-video.json", {"version": VIDEO_VERSION, "seed": seed})


def _write_source(video: Path, source: str, random: Random, sizes: dict[str, int]) -> None:
    subtitles: list[Record] = []
    ids: dict[str, count[int]] = {pattern: count() for pattern in SOURCES[source]}
    for part, size in sizes.items():
        drawn = islice(clips.clips(part, random, STYLES[source]), size)
        named = {_clip_name(source, len(subtitles) + n): clip for n, clip in enumerate(drawn)}
        for pattern, annotate in SOURCES[source].items():
            about = (annotate(*pair, part, ids[pattern], random) for pair in named.items())
            file = video / "ann" / pattern.format(split=VIDEO_SPLITS[part])
            records.write_lines(file, chain.from_iterable(about))
        for name, clip in named.items():
            sub = [{"text": x.text, "start": x.shot.start, "end": x.shot.end} for x in clip.lines]
            subtitles.append({"vid_name": name, "sub": sub})
            for number, scene in enumerate(clip.frames(), 1):
                records.save_picture(scene, video / "frames" / source / name / f"{number:05d}.png")
    records.write_lines(video / "ann" / f"{source}_subtitles.jsonl", subtitles)


def _clip_name(source: str, number: int) -> str:
    """As the datasets name their clips: `house_s03e12_seg02_clip_17`, `25848`, `-jyO7IaGWLY_10`."""
    if source == "tv":
        show = list(SHOWS)[number % len(SHOWS)]
        return f"{show}_s01e{number // 100 + 1:02d}_seg01_clip_{number % 100:02d}"
    return str(25_000 + number) if source == "how2" else f"-mini{number // 5:05d}_{number % 5}"


def _tvqa(name: str, clip: Clip, part: str, ids: count[int], random: Random) -> Iterator[Record]:
    show = {"show_name": SHOWS[name.partition("_")[0]]}
    questions = clips.ask(clip, clips.TVQA_FAMILIES, 5, 5, random)
    return (record | show for record in _clip_questions(questions, name, ids))


def _how2qa(name: str, clip: Clip, part: str, ids: count[int], random: Random) -> Iterator[Record]:
    return _clip_questions(clips.ask(clip, clips.HOW2QA_FAMILIES, 4, 4, random), name, ids)


def _clip_questions(
    questions: Iterable[ClipQuestion], name: str, ids: count[int]
) -> Iterator[Record]:
    for question in questions:
        moment = f"{question.start:g}-{question.end:g}"
        choices = {f"a{n}": choice for n, choice in enumerate(question.choices)}
        record: Record = {"vid_name": name, "qid": next(ids), "q": question.text, "ts": moment}
        yield {**record, **choices, "answer_idx": question.right}


def _tvc(name: str, clip: Clip, part: str, ids: count[int], random: Random) -> Iterator[Record]:
    for shot in random.sample(clip.shots, min(MOMENTS, len(clip.shots))):
        texts = clips.describe(clip, shot, 2 if part == "train" else 4, random)
        number = next(ids)
        moment = {"vid_name": name, "duration": clip.duration, "ts": [shot.start, shot.end]}
        descriptions = [
            {"desc": text, "desc_id": 4 * number + n, "type": "v", "from_retrieval": n == 0}
            for n, text in enumerate(texts)
        ]
        yield {**moment, "descs": descriptions, "clip_id": number}


def _yc2c(name: str, clip: Clip, part: str, ids: count[int], random: Random) -> Iterator[Record]:
    number = next(ids)
    record: Record = {"vid_name": name, "clip_id": number, "duration": round(clip.duration)}
    yield {**record, "descs": [{"desc": clips.steps(clip, random), "desc_id": number}]}


Annotate = Callable[[str, Clip, str, "count[int]", Random], Iterator[Record]]
SOURCES: dict[str, dict[str, Annotate]] = {  # source -> annotation file -> what is said of a clip
    "tv": {"tvqa/tvqa_{split}.jsonl": _tvqa, "tvc/tvc_{split}_release.jsonl": _tvc},
    "how2": {"how2qa/how2qa_{split}_release.jsonl": _how2qa},
    "yc2": {"yc2c/yc2c_{split}_release.jsonl": _yc2c},
}
