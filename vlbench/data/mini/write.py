"""Writes the mini edition: pictures as PNG, annotations in the official formats of eight datasets.

The folders and file names are those of the full edition (docs/datasets.md), so the same readers
read both. Splits never share a scene or clip: a hash of what it shows says which part it belongs
to. As in reality COCO captions and VQAv2 share their images, TVQA and TVC their clips. `held_out`
is a labelled test split, which VALUE keeps to itself.

The embedded edition lies in the cache, made in seconds on first use, whole or not at all.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random

from vlbench.cards.schema import VISUALS, Visual
from vlbench.data.mini import records
from vlbench.data.mini.captions import captions
from vlbench.data.mini.questions import (
    ANSWER_TYPES,
    GQA_FAMILIES,
    GQA_TYPES,
    VQA_FAMILIES,
    Balance,
    Question,
    annotators,
    ask,
    follow_up,
)
from vlbench.data.mini.records import Record
from vlbench.data.mini.statements import Statement, statement
from vlbench.data.mini.world import Scene, scenes
from vlbench.data.mini.write_clips import VIDEO_VERSION, Progress, Sizes, write_video
from vlbench.errors import UsageError
from vlbench.files import cache_folder, remove_forgotten, temporary_beside, writing, writing_cache

VERSION = 2  # of the pictures: raise it when the same seed would give other files
SEED = 0
NAMES = {"image": f"mini-v{VERSION}-seed{SEED}", "video": f"mini-video-v{VIDEO_VERSION}-seed{SEED}"}
"""Folders in the cache: clips are made when they are first needed, and not with the pictures."""

SIZES: Sizes = {
    "coco": {"train": 180, "val": 80, "test": 250},
    "gqa": {"train": 320, "val": 90, "test": 400},
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
    records.write_json(folder / "mini.json", {"version": VERSION, "seed": seed})


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
        records.save_picture(scene, root / "COCO" / "images" / half / filename)
        sentences = [
            {
                "tokens": raw.lower().replace(",", "").rstrip(".").split(), "raw": raw,
                "imgid": number, "sentid": 10 * number + n,
            }
            for n, raw in enumerate(captions(scene, random))
        ]  # fmt: skip
        image = {
            "filepath": half, "filename": filename, "imgid": number, "cocoid": coco_id,
            "split": split, "sentids": [sentence["sentid"] for sentence in sentences],
        }  # fmt: skip
        images.append({**image, "sentences": sentences})
        balance = balances["train" if split == "restval" else split]
        about = ask(scene, VQA_FAMILIES, VQA_QUESTIONS, balance, random)
        for question_id, question in enumerate(about, coco_id * 1000):
            ids = {"question_id": question_id}
            questions[half].append({"image_id": coco_id, "question": question.text, **ids})
            annotations[half].append({**_vqa_annotation(question, coco_id, random), **ids})
    records.write_json(root / "COCO" / "dataset_coco.json", {"images": images, "dataset": "coco"})
    for half in questions:
        head: Record = {"info": {"description": "vlbench mini edition"}, "license": {}}
        head |= {"data_type": "mscoco", "data_subtype": half}
        asked = head | {"task_type": "Open-Ended", "questions": questions[half]}
        records.write_json(root / "vqa" / f"v2_OpenEnded_mscoco_{half}_questions.json", asked)
        answered = head | {"annotations": annotations[half]}
        records.write_json(root / "vqa" / f"v2_mscoco_{half}_annotations.json", answered)


def _vqa_annotation(question: Question, coco_id: int, random: Random) -> Record:
    texts = annotators(question.answer, random)
    levels, weights = ("yes", "maybe", "no"), (85, 12, 3)
    answers = [
        {"answer": t, "answer_confidence": random.choices(levels, weights)[0], "answer_id": n}
        for n, t in enumerate(texts, start=1)
    ]
    return {
        "question_type": question.family, "multiple_choice_answer": max(texts, key=texts.count),
        "answers": answers, "image_id": coco_id,
        "answer_type": ANSWER_TYPES[question.family],
    }  # fmt: skip


def _write_gqa(folder: Path, random: Random, sizes: dict[str, int]) -> None:
    first = 2_300_000
    for part, size in sizes.items():
        split, balance, questions = GQA_SPLITS[part], Balance(), {}
        for number, scene in enumerate(islice(scenes(part, random), size), start=first):
            image = f"n{number}" if split == "testdev" else str(number)
            records.save_picture(scene, folder / "images" / f"{image}.png")
            about = ask(scene, GQA_FAMILIES, GQA_QUESTIONS - 1, balance, random)
            opener = random.choice(about)
            later = follow_up(opener, balance, random)
            if later is not None and later.text not in [question.text for question in about]:
                about.append(later)
            ids = [f"0{number}{n}" for n in range(len(about))]  # real ids have leading zeros too
            for name, question in zip(ids, about, strict=True):
                entailed = [ids[-1]] if later is about[-1] and question is opener else []
                questions[name] = _gqa_question(question, image, name, entailed)
        first += size
        records.write_json(folder / f"{split}_balanced_questions.json", questions)


def _gqa_question(question: Question, image: str, name: str, entailed: list[str]) -> Record:
    family, form = question.family, question.form
    structural, semantic = GQA_TYPES[family]
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
                    records.save_picture(
                        scene, folder / "images" / inside / f"{stem}-img{side}.png"
                    )
                for n, (sentence, label) in enumerate(zip(sentences, labels, strict=True)):
                    row = {
                        "sentence": sentence.text, "label": str(label),
                        "identifier": f"{stem}-{n}", "synset": sentence.family,
                        "query": "shapes0", "writer": str(random.randrange(40)),
                        "validation": {str(random.randrange(40, 80)): str(label)},
                        "left_url": "", "right_url": "",
                    }  # fmt: skip
                    rows.append({**row, "directory": set_id % 100} if split == "train" else row)
        records.write_lines(folder / f"{split}.json", rows)


Labelled = tuple[tuple[Scene, ...], tuple[bool, bool]]
"""A pair of scenes, and whether each of two sentences holds for it."""


def _sentence_set(pool: list[Scene], random: Random) -> tuple[list[Statement], list[Labelled]]:
    """Two sentences and four pairs, one for each way the two can be true or false.

    Each sentence is true of half of its pairs, so that it alone says nothing about its label.
    """
    while True:
        first, second = statement(random), statement(random)
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
