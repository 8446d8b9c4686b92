from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlbench.cards import find_tasks
from vlbench.data.check import SplitCheck, check_tasks
from vlbench.data.images import find_pictures
from vlbench.data.prepare import Wanted, prepare
from vlbench.data.readers import load_reader
from vlbench.data.stores.own import write_store
from vlbench.errors import MissingError


def check(
    root: Path, tasks: str = "vqav2", edition: Any = "full", load: Any = object
) -> dict[str, SplitCheck]:
    """By split."""
    wanted = Wanted("mini", 16, 128, load)
    found = check_tasks(find_tasks(tasks)[1], edition, root, wanted, lambda _: None)
    return {each.split: each for each in found}


def test_the_missing_files_of_all_tasks_are_told_at_once(tmp_path) -> None:
    _, tasks = find_tasks("vqav2,gqa,nlvr2,coco")
    with pytest.raises(MissingError) as caught:
        prepare(tasks, "full", tmp_path, None, Wanted("mini", 16, 128, object))
    lines = str(caught.value).splitlines()
    assert "--root" in lines[0]
    assert len(lines) == len(set(lines)) == 1 + 5 + 3 + 3  # the Karpathy file is named once


def test_data_without_fault_is_counted(vqa) -> None:
    found = check(vqa.folder)
    assert (found["train"].examples, found["train"].pictures) == (6, 3)
    assert (found["val"].examples, found["val"].pictures) == (2, 1)
    assert all(each.is_ready and not each.problems for each in found.values())
    assert all(found["train"].files.values()) and len(found["train"].files) == 5


def test_the_published_number_of_examples_stands_beside_what_was_found(vqa) -> None:
    assert check(vqa.folder)["train"].expected == 605_102


def test_missing_files_are_told_with_where_they_are_published(tmp_path: Path) -> None:
    found = check(tmp_path, "gqa")["train"]
    assert found.examples is None and not found.is_ready
    [line] = found.problems
    assert "no file" in line and "train_balanced_questions.json" in line
    assert "published at https://" in line


def test_missing_pictures_are_told_with_an_example_that_wants_them(vqa) -> None:
    (vqa / "COCO/images/val2014/COCO_val2014_000000000051.png").unlink()
    reader = load_reader("vqav2", vqa.folder)
    paths, faults = find_pictures(reader, reader.read("val"))
    assert not paths
    [line] = faults.texts
    assert "COCO_val2014_000000000051" in line and "example 51000" in line
    found = check(vqa.folder)
    assert (found["val"].pictures_missing, found["val"].features_missing) == (1, 1)
    assert not found["val"].is_ready and found["train"].is_ready
    assert any("COCO_val2014_000000000051" in problem for problem in found["val"].problems)


def test_a_truncated_picture_is_found(vqa) -> None:
    path = vqa / "COCO/images/val2014/COCO_val2014_000000000051.png"
    path.write_bytes(path.read_bytes()[:50])
    found = check(vqa.folder)["val"]
    assert any("COCO_val2014_000000000051.png: not a readable picture" in p for p in found.problems)


def test_with_features_no_picture_is_needed(vqa) -> None:
    place = vqa.folder / "features" / "mini" / "COCO"
    ids = [f"COCO_{half}_{n:012d}" for half in ("train2014", "val2014") for n in range(100)]
    write_store(place, [(ids, np.zeros((len(ids), 16, 128)))])
    (vqa / "COCO/images/val2014/COCO_val2014_000000000051.png").unlink()
    found = check(vqa.folder)
    assert all(each.is_ready for each in found.values())
    assert found["val"].features == str(place) and found["val"].features_missing == 0


def test_faulty_records_are_told_and_do_not_stop_the_other_splits(vqa) -> None:
    file = vqa / "COCO" / "dataset_coco.json"
    file.write_text(file.read_text().replace('"val"', '"vall"'))
    found = check(vqa.folder)
    assert found["train"].is_ready and not found["val"].is_ready
    assert "no example of the split 'val'" in found["val"].problems[0]


def test_pictures_are_not_enough_where_their_encoder_is_missing(vqa) -> None:
    def absent() -> Any:
        raise MissingError("no weights here")

    found = check(vqa.folder, load=absent)
    assert not found["val"].is_ready and found["val"].problems == ["no weights here"]


def test_a_grid_that_cannot_be_pooled_is_told(vqa) -> None:
    ids = [f"COCO_{half}_{n:012d}" for half in ("train2014", "val2014") for n in range(100)]
    write_store(vqa.folder / "features/mini/COCO", [(ids, np.zeros((len(ids), 12, 128)))])
    [problem] = check(vqa.folder)["val"].problems
    assert "12 tokens a picture cannot be pooled to the 16" in problem
