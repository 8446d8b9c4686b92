"""Writes the mini edition: pictures as PNG, annotations in the official formats of four datasets.

The folders and file names are those of the full edition (docs/datasets.md), so the same readers
read both. Splits never share a scene: a hash of what a scene shows says which part it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from vlbench.data.mini import VERSION
from vlbench.data.mini.captions import captions
from vlbench.data.mini.draw import draw
from vlbench.data.mini.gqa import GQA_FAMILIES, GQA_TYPES, follow_up
from vlbench.data.mini.questions import Balance, Question, ask
from vlbench.data.mini.statements import statement
from vlbench.data.mini.vqa import ANSWER_TYPES, VQA_FAMILIES, annotators
from vlbench.data.mini.world import Scene, scenes


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each part is made; images for COCO, VQA and GQA, sentence sets for NLVR2."""

    coco: dict[str, int]
    gqa: dict[str, int]
    nlvr2: dict[str, int]
    vqa_questions: int = 8
    """Questions an image; captions are five an image, as in COCO."""
    gqa_questions: int = 5
    """Questions an image; one of them may follow from another."""


SIZES = Sizes(
    coco={"train": 480, "val": 120, "test": 240},
    gqa={"train": 800, "val": 120, "test": 240},
    nlvr2={"train": 350, "val": 50, "test": 125},
)
GQA_SPLITS = {"train": "train", "val": "val", "test": "testdev"}
NLVR2_SPLITS = {"train": "train", "val": "dev", "test": "test1"}

Progress = Callable[[str], None]


def write_mini(
    folder: Path, seed: int, sizes: Sizes = SIZES, progress: Progress = lambda _: None
) -> None:
    """Write the whole edition into an empty folder; the same seed gives the same bytes."""
    progress("COCO and VQAv2")
    _write_coco_and_vqa(folder, Random(f"coco {seed}"), sizes)
    progress("GQA")
    _write_gqa(folder / "GQA", Random(f"gqa {seed}"), sizes)
    progress("NLVR2")
    _write_nlvr2(folder / "nlvr2", Random(f"nlvr2 {seed}"), sizes)
    _write_json(folder / "mini.json", {"version": VERSION, "seed": seed})


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _save(scene: Scene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(scene).save(path, compress_level=1)


# COCO captions and VQAv2 share their images, as in reality


def _coco_images(random: Random, sizes: Sizes) -> Iterator[tuple[str, str, Scene]]:
    """(Karpathy split, folder, scene); an eighth of the training images are `restval`."""
    for part, count in sizes.coco.items():
        for number, scene in enumerate(islice(scenes(part, random), count)):
            if part == "train" and number % 8:
                yield "train", "train2014", scene
            else:
                yield "restval" if part == "train" else part, "val2014", scene


def _write_coco_and_vqa(root: Path, random: Random, sizes: Sizes) -> None:
    images: list[dict[str, Any]] = []
    questions: dict[str, list[dict[str, Any]]] = {"train2014": [], "val2014": []}
    annotations: dict[str, list[dict[str, Any]]] = {"train2014": [], "val2014": []}
    balance: dict[str, Balance] = {}
    for number, (split, half, scene) in enumerate(_coco_images(random, sizes)):
        coco_id = 1000 + 7 * number
        filename = f"COCO_{half}_{coco_id:012d}.png"
        _save(scene, root / "COCO" / "images" / half / filename)
        images.append(
            _karpathy_image(split, half, filename, number, coco_id, captions(scene, random))
        )
        kept = balance.setdefault("train" if split == "restval" else split, Balance())
        for n, question in enumerate(ask(scene, VQA_FAMILIES, sizes.vqa_questions, kept, random)):
            asked = {
                "image_id": coco_id,
                "question": question.text,
                "question_id": coco_id * 1000 + n,
            }
            questions[half].append(asked)
            annotations[half].append(_vqa_annotation(question, asked, random))
    _write_json(root / "COCO" / "dataset_coco.json", {"images": images, "dataset": "coco"})
    for half in questions:
        head = {
            "info": {"description": "vlbench mini edition"},
            "license": {},
            "data_type": "mscoco",
            "data_subtype": half,
        }
        _write_json(
            root / "vqa" / f"v2_OpenEnded_mscoco_{half}_questions.json",
            {**head, "task_type": "Open-Ended", "questions": questions[half]},
        )
        _write_json(
            root / "vqa" / f"v2_mscoco_{half}_annotations.json",
            {**head, "annotations": annotations[half]},
        )


def _karpathy_image(
    split: str, half: str, filename: str, number: int, coco_id: int, raws: list[str]
) -> dict[str, Any]:
    sentences = [
        {
            "tokens": raw.lower().replace(",", "").rstrip(".").split(),
            "raw": raw,
            "imgid": number,
            "sentid": 10 * number + n,
        }
        for n, raw in enumerate(raws)
    ]
    return {
        "filepath": half,
        "filename": filename,
        "imgid": number,
        "cocoid": coco_id,
        "split": split,
        "sentids": [sentence["sentid"] for sentence in sentences],
        "sentences": sentences,
    }


def _vqa_annotation(question: Question, asked: dict[str, Any], random: Random) -> dict[str, Any]:
    answers = annotators(question.answer, random)
    return {
        "question_type": question.family,
        "multiple_choice_answer": max(answers, key=answers.count),
        "answers": [
            {
                "answer": answer,
                "answer_confidence": random.choices(("yes", "maybe", "no"), (85, 12, 3))[0],
                "answer_id": n,
            }
            for n, answer in enumerate(answers, start=1)
        ],
        "image_id": asked["image_id"],
        "answer_type": ANSWER_TYPES[question.family],
        "question_id": asked["question_id"],
    }


# GQA


def _write_gqa(folder: Path, random: Random, sizes: Sizes) -> None:
    first = 2_300_000
    for part, count in sizes.gqa.items():
        split, balance, questions = GQA_SPLITS[part], Balance(), {}
        for number, scene in enumerate(islice(scenes(part, random), count), start=first):
            image = f"n{number}" if split == "testdev" else str(number)
            _save(scene, folder / "images" / f"{image}.png")
            asked = ask(scene, GQA_FAMILIES, sizes.gqa_questions - 1, balance, random)
            opener = random.choice(asked)
            later = follow_up(opener, scene, balance, random)
            if later is not None and later.text not in [question.text for question in asked]:
                asked.append(later)
            ids = [f"0{number}{n}" for n in range(len(asked))]  # real ids have leading zeros too
            for name, question in zip(ids, asked, strict=True):
                entailed = [ids[-1]] if later is asked[-1] and question is opener else []
                questions[name] = _gqa_question(question, image, name, entailed)
        first += count
        _write_json(folder / f"{split}_balanced_questions.json", questions)


def _gqa_question(question: Question, image: str, name: str, entailed: list[str]) -> dict[str, Any]:
    structural, semantic = GQA_TYPES[question.family]
    subject = question.about.name("object") if question.about else "scene"
    steps = [
        {"operation": "select", "dependencies": [], "argument": f"{subject} (0)"},
        {"operation": question.family, "dependencies": [0], "argument": question.form},
    ]
    return {
        "semantic": steps,
        "entailed": entailed,
        "equivalent": [name],
        "question": question.text,
        "imageId": image,
        "isBalanced": True,
        "groups": {"global": question.family, "local": f"{question.family}-{question.form}"},
        "answer": question.answer,
        "semanticStr": f"select: {subject} (0)->{question.family}: {question.form} [0]",
        "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
        "types": {"detailed": question.family, "semantic": semantic, "structural": structural},
        "fullAnswer": f"The answer is {question.answer}.",
    }


# NLVR2


def _write_nlvr2(folder: Path, random: Random, sizes: Sizes) -> None:
    for part, count in sizes.nlvr2.items():
        split = NLVR2_SPLITS[part]
        pool = list(islice(scenes(part, random), 8 * count + 400))
        rows: list[dict[str, Any]] = []
        for set_id in range(count):
            sentences, pairs = _sentence_set(pool, random)
            inside = f"train/{set_id % 100}" if split == "train" else split
            for pair_id, (pair, labels) in enumerate(pairs):
                stem = f"{split}-{set_id}-{pair_id}"
                for side, scene in enumerate(pair):
                    _save(scene, folder / "images" / inside / f"{stem}-img{side}.png")
                for sentence_id, sentence in enumerate(sentences):
                    row = {
                        "sentence": sentence,
                        "label": str(labels[sentence_id]),
                        "identifier": f"{stem}-{sentence_id}",
                        "synset": "shape",
                        "query": "shapes0",
                        "writer": str(random.randrange(40)),
                        "validation": {str(random.randrange(40, 80)): str(labels[sentence_id])},
                        "left_url": "",
                        "right_url": "",
                    }
                    rows.append({**row, "directory": set_id % 100} if split == "train" else row)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.json").write_text(text, encoding="utf-8")


Pair = tuple[Scene, Scene]


def _sentence_set(
    pool: list[Scene], random: Random
) -> tuple[list[str], list[tuple[Pair, list[bool]]]]:
    """Two sentences and four pairs, one for each way the two can be true or false."""
    while True:
        (first, holds_first), (second, holds_second) = statement(random), statement(random)
        if first == second:
            continue
        found: dict[tuple[bool, bool], Pair] = {}
        for _ in range(150):
            left, right = random.sample(pool, 2)
            found.setdefault((holds_first(left, right), holds_second(left, right)), (left, right))
            if len(found) == 4:
                pairs = [(pair, list(labels)) for labels, pair in found.items()]
                random.shuffle(pairs)
                return [first, second], pairs
