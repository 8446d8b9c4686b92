"""A task ready to train, or what is wrong with its files: told by a run, or by `data check`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runs.builders import Bench
from vlbench.cards import find_tasks
from vlbench.data.prepare import FeatureSpec, prepare
from vlbench.data.stores.own import write_store
from vlbench.data.table import concatenate
from vlbench.encoders import load_encoder
from vlbench.errors import DataError, MissingError
from vlbench.runs.check import check_tasks


@pytest.fixture
def bench_root(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny edition to spoil, and an empty cache."""
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(bench.root, tmp_path / "root"))


MINI = FeatureSpec("mini", tokens=16, width=128, load=lambda: load_encoder("mini"))


def ready(root: Path, tasks: str = "image-text", **more: Any) -> Any:
    arguments = {"edition": "mini", "limit": None, "spec": MINI, **more}
    return prepare(find_tasks(tasks)[1], root=root, **arguments)


def change(file: Path, edit: Any) -> None:
    table = json.loads(file.read_text())
    edit(table)
    file.write_text(json.dumps(table))


def test_all_splits_come_with_features_and_a_fingerprint_of_contents_and_not_of_the_folder(
    bench_root: Path, tmp_path: Path
) -> None:
    for task in ready(bench_root):
        for examples in (task.train, task.val, task.test):
            assert examples
            assert not task.store.missing([image for e in examples for image in e.images])
    (limited,) = ready(bench_root, "vqav2", limit=5)
    assert (len(limited.train), len(limited.val), len(limited.test)) == (5, 5, 5)
    (here,) = ready(bench_root, "gqa")
    copy = Path(shutil.copytree(bench_root, tmp_path / "copy"))
    assert ready(copy, "gqa")[0].fingerprint == here.fingerprint
    Image.new("RGB", (48, 48), "red").save(next((copy / "GQA" / "images").iterdir()))
    assert ready(copy, "gqa")[0].fingerprint != here.fingerprint


def test_missing_files_of_all_tasks_come_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        ready(tmp_path, edition="full")
    lines = str(caught.value).splitlines()
    assert "--root" in lines[0]
    assert len(lines) == len(set(lines)) == 1 + 5 + 3 + 3  # the Karpathy file is named once
    for name in ("COCO/dataset_coco.json", "GQA/testdev_balanced_questions.json"):
        assert f"{tmp_path}/{name}" in str(caught.value)


def first_key(file: Path) -> str:
    return next(iter(json.loads(file.read_text())))


def test_a_truncated_picture_and_an_absent_one_are_named(bench_root: Path) -> None:
    picture = sorted((bench_root / "COCO/images/val2014").iterdir())[0]
    picture.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{picture.name}: not a readable picture"):
        ready(bench_root, "vqav2")
    file = bench_root / "GQA/train_balanced_questions.json"
    change(file, lambda table: next(iter(table.values())).update(imageId="none"))
    wanted_by = f"wanted by example {first_key(file)}"
    with pytest.raises(MissingError, match=rf"none\.jpg: no such picture.*{wanted_by}"):
        ready(bench_root, "gqa")


def own_store(path: Path, images: list[str], width: int = 8, encoder: str = "other") -> Path:
    features = np.ones((len(images), 4, width), np.float16)
    return write_store(path, [({"ids": images}, features)], {"name": encoder}).path


def other(width: int | None = 8, *folders: Path) -> FeatureSpec:
    def never() -> Any:
        raise AssertionError("there is a store")

    return FeatureSpec("other", tokens=4, width=width, load=never, folders=folders)


@pytest.fixture
def images(bench_root: Path) -> list[str]:
    """The pictures of NLVR2."""
    (task,) = ready(bench_root, "nlvr2")
    return concatenate([task.train, task.val, task.test]).images()


def test_stores_below_the_root_or_named_by_the_user_are_read_and_no_picture(
    bench_root: Path, tmp_path: Path, images: list[str]
) -> None:
    shutil.rmtree(bench_root / "nlvr2" / "images")
    half = len(images) // 2
    one, two = own_store(tmp_path / "1", images[:half]), own_store(tmp_path / "2", images[half:])
    (task,) = ready(bench_root, "nlvr2", spec=other(None, one, two))
    assert task.store.get([images[0], images[-1]]).shape == (2, 4, 8)
    below = bench_root / "features" / "other" / "nlvr2"
    own_store(below, images)
    (task,) = ready(bench_root, "nlvr2", spec=other())
    assert task.store.get(images[:2]).shape == (2, 4, 8)
    own_store(below, images[:3])
    with pytest.raises(MissingError) as caught:
        ready(bench_root, "nlvr2", spec=other())
    lines = str(caught.value).splitlines()
    assert "Task 'nlvr2' lacks features" in lines[0]
    assert len(lines) == 12 and f"no features of {images[3]} in " in lines[1]
    assert lines[-1].strip() == f"... and {len(images) - 13} more"


def test_a_store_of_another_encoder_width_or_grid_is_refused(
    bench_root: Path, tmp_path: Path, images: list[str]
) -> None:
    wrong = own_store(tmp_path / "wrong", images, encoder="clip-rn101")
    with pytest.raises(MissingError, match="features of the encoder 'clip-rn101', the run reads"):
        ready(bench_root, "nlvr2", spec=other(8, wrong))
    wide = own_store(tmp_path / "wide", images, width=9)
    with pytest.raises(MissingError, match="features of width 9, the backbone reads 8"):
        ready(bench_root, "nlvr2", spec=other(8, wide))
    with pytest.raises(MissingError, match="nowhere: no such file or folder"):
        ready(bench_root, "nlvr2", spec=other(8, tmp_path / "nowhere"))
    store = own_store(tmp_path / "small", images, width=128, encoder="mini")
    with pytest.raises(MissingError, match="4 tokens cannot be pooled to the 16"):
        ready(bench_root, "nlvr2", spec=FeatureSpec("mini", 16, 128, object, (store,)))


def absent() -> Any:
    raise MissingError("no weights here")


def test_without_store_encoder_and_pictures_the_remedy_is_told(bench_root: Path) -> None:
    with pytest.raises(MissingError) as caught:
        ready(bench_root, "nlvr2", spec=FeatureSpec("clip-rn101", 36, 2048, absent))
    text = str(caught.value)
    assert "no weights here" in text
    assert str(bench_root / "features/clip-rn101/nlvr2") in text
    assert str(bench_root / "nlvr/clip_features/data_clip_RN101_att") in text
    assert "vlbench data extract-features --encoder clip-rn101 --images DIR --out" in text


def check(
    root: Path, tasks: str = "vqav2", load: Any = lambda: SimpleNamespace(tokens=16)
) -> dict[str, dict[str, Any]]:
    """By split, of the full edition."""
    spec = FeatureSpec("mini", 16, 128, load)
    items = check_tasks(find_tasks(tasks)[1], "full", root, spec, lambda _: None)
    return {item["split"]: item for item in items}


def test_data_without_fault_is_counted_beside_the_published_number(vqa) -> None:
    splits = check(vqa.folder)
    facts = {"examples": 6, "published": 605_102, "pictures": 3, "features": None}
    assert splits["train"].items() >= facts.items()
    assert (splits["val"]["examples"], splits["val"]["pictures"]) == (2, 1)
    assert all(split["ready"] and not split["problems"] for split in splits.values())
    split = check(vqa.folder, load=absent)["val"]  # pictures are not enough without their encoder
    assert not split["ready"] and split["problems"][0] == "no weights here"


def test_what_is_missing_or_faulty_is_told_and_does_not_stop_the_other_splits(
    vqa, tmp_path: Path
) -> None:
    split = check(tmp_path / "nowhere", "gqa")["train"]
    assert split["examples"] is None and not split["ready"]
    file, published = split["problems"]
    assert "no file" in file and "train_balanced_questions.json" in file
    assert "published at https://" in published
    path = vqa / "COCO/images/val2014/COCO_val2014_000000000051.png"
    path.write_bytes(path.read_bytes()[:50])
    [problem] = check(vqa.folder)["val"]["problems"]
    assert f"{path.name}: not a readable picture" in problem
    path.unlink()
    splits = check(vqa.folder)
    assert not splits["val"]["ready"] and splits["train"]["ready"]
    advice, picture = splits["val"]["problems"]
    assert "no features of the encoder 'mini' in" in advice
    assert "COCO_val2014_000000000051" in picture and "wanted by example 51000" in picture
    file = vqa / "COCO" / "dataset_coco.json"
    file.write_text(file.read_text().replace('"val"', '"vall"'))
    splits = check(vqa.folder)
    assert splits["train"]["ready"] and not splits["val"]["ready"]
    assert "no example of the split 'val'" in splits["val"]["problems"][0]
