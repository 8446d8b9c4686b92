"""Writes the mini edition: pictures as PNG, annotations in the official formats of eight datasets.

The folders and file names are those of the full edition (docs/datasets.md), so the same readers
read both. Splits never share a scene or clip: a hash of what it shows says which part it belongs
to. As in reality COCO captions and VQAv2 share their images, TVQA and TVC their clips. `held_out`
is a labelled test split, which VALUE keeps to itself.

The embedded edition lies in the cache, made in seconds on first use, whole or not at all.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from random import Random
from typing import Any

from vlbench.cards.schema import VISUALS, Visual
from vlbench.data.mini import clips, pictures
from vlbench.data.mini.clips import Clip, ClipQuestion, Style
from vlbench.data.mini.pictures import Balance, Question, Statement
from vlbench.data.mini.world import Scene, draw, scenes
from vlbench.errors import UsageError
from vlbench.files import cache_folder, remove_forgotten, temporary_beside, writing, writing_cache

VERSION = 2  # of the pictures: raise it when the same seed would give other files
VIDEO_VERSION = 2  # the same, of the clips
SEED = 0
NAMES = {"image": f"mini-v{VERSION}-seed{SEED}", "video": f"mini-video-v{VIDEO_VERSION}-seed{SEED}"}
"""Folders in the cache: clips are made when they are first needed, and not with the pictures."""
Record = dict[str, Any]
Progress = Callable[[str], object]
Sizes = dict[str, dict[str, int]]

SIZES: Sizes = {
    "coco": {"train": 240, "val": 60, "test": 250},
    "gqa": {"train": 450, "val": 90, "test": 420},
    "nlvr2": {"train": 160, "val": 50, "test": 250},
}
"""Dataset -> part -> images (COCO's are VQA's too), or sentence sets for NLVR2."""
VQA_QUESTIONS = 8  # of an image; captions are five an image, as in COCO
GQA_QUESTIONS = 5  # of an image; one of them may follow from another
GQA_SPLITS = {"train": "train", "val": "val", "test": "testdev"}
NLVR2_SPLITS = {"train": "train", "val": "dev", "test": "test1"}


def write_mini(folder: Path, seed: int, sizes: Sizes = SIZES, progress: Progress = str) -> None:
    """Write all pictures into an empty folder; the same seed gives the same bytes."""
    progress("COCO and VQAv2")
    _write_coco_and_vqa(folder, Random(f"coco {seed}"), sizes["coco"])
    progress("GQA")
    _write_gqa(folder / "GQA", Random(f"gqa {seed}"), sizes["gqa"])
    progress("NLVR2")
    _write_nlvr2(folder / "nlvr2", Random(f"nlvr2 {seed}"), sizes["nlvr2"])
    _write_json(folder / "mini.json", {"version": VERSION, "seed": seed})


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_lines(path: Path, records: Iterable[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def _save(scene: Scene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(scene).save(path, compress_level=1)


def _coco_images(random: Random, sizes: dict[str, int]) -> Iterator[tuple[str, str, Scene]]:
    """(Karpathy split, folder, scene); an eighth of the training images are `restval`."""
    for part, number in sizes.items():
        for n, scene in enumerate(islice(scenes(part, random), number)):
            if part == "train" and n % 8:
                yield "train", "train2014", scene
            else:
                yield "restval" if part == "train" else part, "val2014", scene


def _write_coco_and_vqa(root: Path, random: Random, sizes: dict[str, int]) -> None:
    images: list[Record] = []
    questions: dict[str, list[Record]] = {"train2014": [], "val2014": []}
    annotations: dict[str, list[Record]] = defaultdict(list)
    balances: dict[str, Balance] = defaultdict(Balance)
    for number, (split, half, scene) in enumerate(_coco_images(random, sizes)):
        coco_id = 1000 + 7 * number
        filename = f"COCO_{half}_{coco_id:012d}.png"
        _save(scene, root / "COCO" / "images" / half / filename)
        sentences = [
            {
                "tokens": raw.lower().replace(",", "").rstrip(".").split(), "raw": raw,
                "imgid": number, "sentid": 10 * number + n,
            }
            for n, raw in enumerate(pictures.captions(scene, random))
        ]  # fmt: skip
        image = {
            "filepath": half, "filename": filename, "imgid": number, "cocoid": coco_id,
            "split": split, "sentids": [sentence["sentid"] for sentence in sentences],
        }  # fmt: skip
        images.append({**image, "sentences": sentences})
        balance = balances["train" if split == "restval" else split]
        about = pictures.ask(scene, pictures.VQA_FAMILIES, VQA_QUESTIONS, balance, random)
        for question_id, question in enumerate(about, coco_id * 1000):
            ids = {"question_id": question_id}
            questions[half].append({"image_id": coco_id, "question": question.text, **ids})
            annotations[half].append({**_vqa_annotation(question, coco_id, random), **ids})
    _write_json(root / "COCO" / "dataset_coco.json", {"images": images, "dataset": "coco"})
    for half in questions:
        head: Record = {"info": {"description": "vlbench mini edition"}, "license": {}}
        head |= {"data_type": "mscoco", "data_subtype": half}
        asked = head | {"task_type": "Open-Ended", "questions": questions[half]}
        _write_json(root / "vqa" / f"v2_OpenEnded_mscoco_{half}_questions.json", asked)
        answered = head | {"annotations": annotations[half]}
        _write_json(root / "vqa" / f"v2_mscoco_{half}_annotations.json", answered)


def _vqa_annotation(question: Question, coco_id: int, random: Random) -> Record:
    texts = pictures.annotators(question.answer, random)
    levels, weights = ("yes", "maybe", "no"), (85, 12, 3)
    answers = [
        {"answer": t, "answer_confidence": random.choices(levels, weights)[0], "answer_id": n}
        for n, t in enumerate(texts, start=1)
    ]
    return {
        "question_type": question.family, "multiple_choice_answer": max(texts, key=texts.count),
        "answers": answers, "image_id": coco_id,
        "answer_type": pictures.ANSWER_TYPES[question.family],
    }  # fmt: skip


def _write_gqa(folder: Path, random: Random, sizes: dict[str, int]) -> None:
    first = 2_300_000
    for part, size in sizes.items():
        split, balance, questions = GQA_SPLITS[part], Balance(), {}
        for number, scene in enumerate(islice(scenes(part, random), size), start=first):
            image = f"n{number}" if split == "testdev" else str(number)
            _save(scene, folder / "images" / f"{image}.png")
            about = pictures.ask(scene, pictures.GQA_FAMILIES, GQA_QUESTIONS - 1, balance, random)
            opener = random.choice(about)
            later = pictures.follow_up(opener, balance, random)
            if later is not None and later.text not in [question.text for question in about]:
                about.append(later)
            ids = [f"0{number}{n}" for n in range(len(about))]  # real ids have leading zeros too
            for name, question in zip(ids, about, strict=True):
                entailed = [ids[-1]] if later is about[-1] and question is opener else []
                questions[name] = _gqa_question(question, image, name, entailed)
        first += size
        _write_json(folder / f"{split}_balanced_questions.json", questions)


def _gqa_question(question: Question, image: str, name: str, entailed: list[str]) -> Record:
    family, form = question.family, question.form
    structural, semantic = pictures.GQA_TYPES[family]
    subject = question.about.name("object") if question.about else "scene"
    select = {"operation": "select", "dependencies": [], "argument": f"{subject} (0)"}
    return {
        "semantic": [select, {"operation": family, "dependencies": [0], "argument": form}],
        "entailed": entailed, "equivalent": [name], "question": question.text, "imageId": image,
        "isBalanced": True, "groups": {"global": family, "local": f"{family}-{form}"},
        "answer": question.answer,
        "semanticStr": f"select: {subject} (0)->{family}: {form} [0]",
        "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
        "types": {"detailed": family, "semantic": semantic, "structural": structural},
        "fullAnswer": f"The answer is {question.answer}.",
    }  # fmt: skip


def _write_nlvr2(folder: Path, random: Random, sizes: dict[str, int]) -> None:
    for part, size in sizes.items():
        split = NLVR2_SPLITS[part]
        pool = list(islice(scenes(part, random), 8 * size + 400))
        rows: list[Record] = []
        for set_id in range(size):
            sentences, pairs = _sentence_set(pool, random)
            inside = f"train/{set_id % 100}" if split == "train" else split
            for pair_id, (pair, labels) in enumerate(pairs):
                stem = f"{split}-{set_id}-{pair_id}"
                for side, scene in enumerate(pair):
                    _save(scene, folder / "images" / inside / f"{stem}-img{side}.png")
                for n, (sentence, label) in enumerate(zip(sentences, labels, strict=True)):
                    row = {
                        "sentence": sentence.text, "label": str(label),
                        "identifier": f"{stem}-{n}", "synset": sentence.family,
                        "query": "shapes0", "writer": str(random.randrange(40)),
                        "validation": {str(random.randrange(40, 80)): str(label)},
                        "left_url": "", "right_url": "",
                    }  # fmt: skip
                    rows.append({**row, "directory": set_id % 100} if split == "train" else row)
        _write_lines(folder / f"{split}.json", rows)


Labelled = tuple[tuple[Scene, ...], tuple[bool, bool]]
"""A pair of scenes, and whether each of two sentences holds for it."""


def _sentence_set(pool: list[Scene], random: Random) -> tuple[list[Statement], list[Labelled]]:
    """Two sentences and four pairs, one for each way the two can be true or false.

    Each sentence is true of half of its pairs, so that it alone says nothing about its label.
    """
    while True:
        first, second = pictures.statement(random), pictures.statement(random)
        if first.text == second.text:
            continue
        pairs: dict[tuple[bool, bool], tuple[Scene, ...]] = {}
        for _ in range(150):
            pair = tuple(random.sample(pool, 2))
            labels = first.holds(*pair), second.holds(*pair)
            if labels[0] is None or labels[1] is None:
                continue
            pairs.setdefault((labels[0], labels[1]), pair)
            if len(pairs) == 4:
                shuffled = [(pair, labels) for labels, pair in pairs.items()]
                random.shuffle(shuffled)
                return [first, second], shuffled


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
    _write_json(folder / "mini-video.json", {"version": VIDEO_VERSION, "seed": seed})


def _write_source(video: Path, source: str, random: Random, sizes: dict[str, int]) -> None:
    subtitles: list[Record] = []
    ids: dict[str, count[int]] = {pattern: count() for pattern in SOURCES[source]}
    for part, size in sizes.items():
        drawn = islice(clips.clips(part, random, STYLES[source]), size)
        named = {_clip_name(source, len(subtitles) + n): clip for n, clip in enumerate(drawn)}
        for pattern, annotate in SOURCES[source].items():
            about = (annotate(*pair, part, ids[pattern], random) for pair in named.items())
            file = video / "ann" / pattern.format(split=VIDEO_SPLITS[part])
            _write_lines(file, chain.from_iterable(about))
        for name, clip in named.items():
            sub = [{"text": x.text, "start": x.shot.start, "end": x.shot.end} for x in clip.lines]
            subtitles.append({"vid_name": name, "sub": sub})
            for number, scene in enumerate(clip.frames(), 1):
                _save(scene, video / "frames" / source / name / f"{number:05d}.png")
    _write_lines(video / "ann" / f"{source}_subtitles.jsonl", subtitles)


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


def mini_root(visual: Visual = "image", progress: Progress = str) -> Path:
    """The embedded edition's root folder, made now if this is its first use."""
    root = cache_folder() / NAMES[visual]
    if not root.is_dir():
        with writing_cache():
            if root.exists():
                raise NotADirectoryError(errno.ENOTDIR, "a file is there", str(root))
            make_mini(root, SEED, progress, (visual,))
    return root


def make_mini(
    folder: Path, seed: int, progress: Progress = str, visuals: Sequence[Visual] = VISUALS
) -> None:
    """Write the edition to `folder`, which must be new or empty.

    It is written beside and renamed, so that a reader never sees half of it; of two processes
    that make it at once the first one wins.
    """
    folder = folder.absolute()
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already and not empty: name a new folder.")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    remove_forgotten(folder.parent)
    (beside := temporary_beside(folder)).mkdir()
    try:
        if "image" in visuals:
            write_mini(beside, seed, progress=progress)
        if "video" in visuals:
            write_video(beside, seed, progress=progress)
        try:
            beside.replace(folder)
        except OSError:  # another process made it meanwhile
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
