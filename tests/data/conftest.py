"""Small data roots in the official formats, to be spoilt by the tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data.mini.builders import TINY, TINY_VIDEO
from vlbench.data.mini.write import write_mini, write_video


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (value, 255 - value, 7)).save(path)
    return path


class Root:
    """A data root with a few records of each dataset; `edit` changes a JSON file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, value: Any) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
        return path

    def lines(self, name: str, records: list[Any]) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    def edit(self, name: str, change: Callable[[Any], object]) -> Path:
        value = json.loads((self.folder / name).read_text())
        change(value)
        return self.write(name, value)


KARPATHY = [("val2014", 9, "train"), ("train2014", 42, "train"), ("val2014", 33, "restval")]
KARPATHY += [("val2014", 51, "val"), ("val2014", 64, "test")]


def image_name(part: str, cocoid: int) -> str:
    return f"COCO_{part}_{cocoid:012d}"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "data")


@pytest.fixture
def coco(root: Root) -> Root:
    """Images 9 (train, of val2014), 42 (train), 33 (restval), 51 (val), 64 (test)."""
    images = []
    for position, (part, cocoid, split) in enumerate(KARPATHY):
        name = image_name(part, cocoid)
        picture(root / f"COCO/images/{part}/{name}.png", cocoid)
        raws = [f"A thing {n}. \n" for n in range(6 if cocoid == 42 else 5)]
        sentences = [
            {"raw": raw, "tokens": ["not", "these"], "sentid": cocoid * 100 + n}
            for n, raw in enumerate(raws)
        ]
        image = {"filepath": part, "filename": f"{name}.jpg", "imgid": position, "split": split}
        images.append({**image, "sentences": sentences, "cocoid": cocoid})
    root.write("COCO/dataset_coco.json", {"images": images, "dataset": "coco"})
    return root


@pytest.fixture
def vqa(coco: Root) -> Root:
    """Two questions an image: ids 1000 times the image's id, plus 0 and 1."""
    for part in ("train2014", "val2014"):
        questions, annotations = [], []
        for folder, cocoid, _ in KARPATHY:
            for n in range(2) if folder == part else ():
                record = {"image_id": cocoid, "question_id": cocoid * 1000 + n}
                questions.append({**record, "question": f"What is {n}?"})
                given = ["Red "] * 1 + ["red"] * 2 + ["2"] * 3 + ["blue"] * 4
                answers = [
                    {"answer": answer, "answer_confidence": "yes", "answer_id": number}
                    for number, answer in enumerate(given, 1)
                ]
                kind = {"question_type": "what is", "answer_type": "other"}
                kind["multiple_choice_answer"] = "blue"
                annotations.append({**record, **kind, "answers": answers})
        coco.write(f"vqa/v2_OpenEnded_mscoco_{part}_questions.json", {"questions": questions})
        coco.write(f"vqa/v2_mscoco_{part}_annotations.json", {"annotations": annotations})
    return coco


@pytest.fixture
def gqa(root: Root) -> Root:
    """Two questions whose ids differ by a leading zero, and one that is not balanced."""

    def record(**changes: Any) -> dict[str, Any]:
        return {
            "question": "What color is the lamp?",
            "imageId": "2354786",
            "isBalanced": True,
            "groups": {"global": None, "local": "06-lamp_color"},
            "answer": "white",
            "types": {"detailed": "directOf", "semantic": "attr", "structural": "query"},
            **changes,
        }

    table = {
        "01827492": record(),
        "1827492": record(answer="red", imageId="n161313"),
        "7": record(isBalanced=False),
    }
    for split in ("train", "val", "testdev"):
        root.write(f"GQA/{split}_balanced_questions.json", table)
    picture(root / "GQA/images/2354786.jpg")
    picture(root / "GQA/images/n161313.png")
    return root


@pytest.fixture
def nlvr2(root: Root) -> Root:
    """One training pair in a sub-folder with two sentences, one flat pair in dev."""

    def record(identifier: str, label: str, **more: Any) -> dict[str, Any]:
        return {"identifier": identifier, "sentence": "Two dogs.", "label": label, **more}

    train = [record(f"train-4100-0-{n}", "True", directory=38) for n in range(2)]
    root.lines("nlvr2/train.json", train)
    root.lines("nlvr2/dev.json", [record("dev-812-1-0", "False")])
    for side in range(2):
        picture(root / f"nlvr2/images/train/38/train-4100-0-img{side}.png", side)
        picture(root / f"nlvr2/images/dev/dev-812-1-img{side}.png", side)
    return root


@pytest.fixture
def nlvr(root: Root) -> Root:
    """Numbers 1 (train), 3 (val), and 8, which is validation's but shares the sentence of 1."""
    records = []
    for number, sentence in ((1, "There is a box."), (3, "No box"), (8, "there is  a box")):
        for n in range(2):
            identifier = f"{number}-{n}"
            record = {"sentence": sentence, "label": "true" if n else "false"}
            records.append({**record, "identifier": identifier, "directory": "2"})
            for order in (0, 3):
                picture(root / f"nlvr/dev/images/2/dev-{identifier}-{order}.png")
    root.lines("nlvr/dev/dev.json", records)
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small edition with its pictures, seed 0."""
    root = tmp_path_factory.mktemp("tiny")
    write_mini(root, 0, TINY)
    return root


@pytest.fixture(scope="session")
def tiny_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Very few clips, seed 0."""
    root = tmp_path_factory.mktemp("tiny-video")
    write_video(root, 0, TINY_VIDEO)
    return root
