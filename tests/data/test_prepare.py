"""A task ready to train, or what is wrong with its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runs.builders import Bench
from vlbench.cards import find_tasks
from vlbench.data.prepare import Wanted, prepare
from vlbench.data.stores.own import write_store
from vlbench.data.table import concatenate
from vlbench.encoders import load_encoder
from vlbench.errors import DataError, MissingError, UsageError
from vlbench.files import cache_folder


@pytest.fixture
def root(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny edition to spoil, and an empty cache."""
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(bench.root, tmp_path / "root"))


MINI = Wanted("mini", tokens=16, width=128, load=lambda: load_encoder("mini"))


def ready(root: Path, tasks: str = "image-text", **more: Any) -> Any:
    arguments = {"edition": "mini", "limit": None, "wanted": MINI, **more}
    return prepare(find_tasks(tasks)[1], root=root, **arguments)


def change(file: Path, edit: Any) -> None:
    table = json.loads(file.read_text())
    edit(table)
    file.write_text(json.dumps(table))


def stores() -> list[Path]:
    return [path for path in cache_folder().glob("features/*/*") if path.name[0] != "."]


def test_all_splits_are_there_with_the_features_of_their_pictures(root: Path) -> None:
    for task in ready(root):
        for examples in (task.train, task.val, task.test):
            assert examples
            assert not task.store.missing([image for e in examples for image in e.images])


def test_a_limit_holds_for_each_split(root: Path) -> None:
    (task,) = ready(root, "vqav2", limit=5)
    assert (len(task.train), len(task.val), len(task.test)) == (5, 5, 5)


def test_the_fingerprint_is_of_contents_and_not_of_the_place(root: Path, tmp_path: Path) -> None:
    (here,) = ready(root, "gqa")
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    assert ready(copy, "gqa")[0].fingerprint == here.fingerprint
    Image.new("RGB", (48, 48), "red").save(next((copy / "GQA" / "images").iterdir()))
    assert ready(copy, "gqa")[0].fingerprint != here.fingerprint


def test_missing_files_of_all_tasks_come_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        ready(tmp_path, edition="full")
    for name in (
        "COCO/dataset_coco.json",
        "vqa/v2_OpenEnded_mscoco_train2014_questions.json",
        "vqa/v2_mscoco_val2014_annotations.json",
        "GQA/train_balanced_questions.json",
        "GQA/testdev_balanced_questions.json",
        "nlvr2/train.json",
        "nlvr2/test1.json",
    ):
        assert f"{tmp_path}/{name}" in str(caught.value)


def test_an_edition_that_a_task_does_not_have_is_told(root: Path) -> None:
    with pytest.raises(UsageError, match=r"Task 'nlvr' has no edition 'mini'. Known: full"):
        ready(root, "nlvr")


def test_a_truncated_picture_is_named_and_no_features_are_left(root: Path) -> None:
    file = sorted((root / "COCO/images/val2014").iterdir())[0]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{file.name}: not a readable picture"):
        ready(root, "vqav2")
    assert stores() == []


def test_a_question_without_its_image_is_named(root: Path) -> None:
    file = root / "GQA/train_balanced_questions.json"
    change(file, lambda table: next(iter(table.values())).update(imageId="none"))
    name = next(iter(json.loads(file.read_text())))
    with pytest.raises(DataError, match=rf"none\.jpg: no such picture.*wanted by example {name}"):
        ready(root, "gqa")
    assert stores() == []


def test_a_question_about_an_unknown_image_is_named(root: Path) -> None:
    file = root / "vqa/v2_OpenEnded_mscoco_train2014_questions.json"
    change(file, lambda table: table["questions"][0].update(image_id=5))
    name = json.loads(file.read_text())["questions"][0]["question_id"]
    with pytest.raises(DataError, match=f"train2014_questions.json: question {name}: no image 5"):
        ready(root, "vqav2")


def test_a_question_without_answers_is_named(root: Path) -> None:
    file = root / "vqa/v2_mscoco_train2014_annotations.json"
    change(file, lambda table: table["annotations"][3].update(answers=[]))
    name = json.loads(file.read_text())["annotations"][3]["question_id"]
    with pytest.raises(DataError, match=f"_annotations.json: question {name}: no answers"):
        ready(root, "vqav2")


def test_an_annotation_lacking_its_answer_key_is_named(root: Path) -> None:
    file = root / "GQA/train_balanced_questions.json"
    change(file, lambda table: next(iter(table.values())).pop("answer"))
    with pytest.raises(DataError, match=r"train_balanced_questions.json: .*'answer' is missing"):
        ready(root, "gqa")


def own_store(place: Path, images: list[str], width: int = 8, encoder: str = "other") -> Path:
    features = np.ones((len(images), 4, width))
    return write_store(place, [(images, features)], {"encoder": {"name": encoder}}).path


def other(width: int | None = 8, *folders: Path) -> Wanted:
    def never() -> Any:
        raise AssertionError("the store is there")

    return Wanted("other", tokens=4, width=width, load=never, folders=folders)


def images_of(root: Path, task: str) -> list[str]:
    (found,) = ready(root, task)
    return concatenate([found.train, found.val, found.test]).images()


def test_a_store_below_the_root_is_read_and_no_picture(root: Path) -> None:
    images = images_of(root, "nlvr2")
    own_store(root / "features" / "other" / "nlvr2", images)
    shutil.rmtree(root / "nlvr2" / "images")
    (task,) = ready(root, "nlvr2", wanted=other())
    assert task.store.get(images[:2]).shape == (2, 4, 8)


def test_stores_that_the_user_names_are_read_together(root: Path, tmp_path: Path) -> None:
    images = images_of(root, "nlvr2")
    half = len(images) // 2
    one, two = (
        own_store(tmp_path / f"{n}", part) for n, part in enumerate((images[:half], images[half:]))
    )
    (task,) = ready(root, "nlvr2", wanted=other(None, one, two))
    assert task.store.get([images[0], images[-1]]).shape == (2, 4, 8)


def test_missing_features_are_counted_and_the_first_ten_named(root: Path) -> None:
    images = images_of(root, "nlvr2")
    own_store(root / "features" / "other" / "nlvr2", images[:3])
    with pytest.raises(MissingError) as caught:
        ready(root, "nlvr2", wanted=other())
    lines = str(caught.value).splitlines()
    assert f"no features of {len(images) - 3} of {len(images)} pictures" in lines[0]
    assert len(lines) == 12 and lines[1].strip() == images[3]
    assert lines[-1].strip() == f"... and {len(images) - 13} more"


def test_a_store_of_another_encoder_or_width_is_refused(root: Path, tmp_path: Path) -> None:
    images = images_of(root, "nlvr2")
    wrong = own_store(tmp_path / "wrong", images, encoder="clip-rn101")
    with pytest.raises(MissingError, match="features of the encoder 'clip-rn101', the run reads"):
        ready(root, "nlvr2", wanted=other(8, wrong))
    wide = own_store(tmp_path / "wide", images, width=9)
    with pytest.raises(MissingError, match="features of width 9, the backbone reads 8"):
        ready(root, "nlvr2", wanted=other(8, wide))
    with pytest.raises(MissingError, match="nowhere: no such file or folder"):
        ready(root, "nlvr2", wanted=other(8, tmp_path / "nowhere"))


def test_without_store_encoder_and_pictures_the_remedy_is_told(root: Path) -> None:
    def absent() -> Any:
        raise MissingError("no weights here")

    with pytest.raises(MissingError) as caught:
        ready(root, "nlvr2", wanted=Wanted("clip-rn101", 36, 2048, absent))
    text = str(caught.value)
    assert text.startswith("no weights here")
    assert str(root / "features/clip-rn101/nlvr2") in text
    assert str(root / "nlvr/clip_features/data_clip_RN101_att") in text
    assert "vlbench data extract-features --encoder clip-rn101 --images DIR --out" in text
