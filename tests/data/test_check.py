from __future__ import annotations

import pytest

from vlbench.data.check import check, image_paths, require_files
from vlbench.data.readers import load_reader
from vlbench.errors import DataError, MissingError


def test_the_missing_files_of_all_tasks_are_told_at_once(tmp_path) -> None:
    wanted = [(load_reader(name, tmp_path), "train") for name in ("vqav2", "gqa", "nlvr2", "coco")]
    with pytest.raises(MissingError) as caught:
        require_files(wanted)
    lines = str(caught.value).splitlines()
    assert "--root" in lines[0]
    assert len(lines) == 1 + 5 + 1 + 1  # the Karpathy file is told once


def test_data_without_fault_is_counted(vqa) -> None:
    [train, val] = check(load_reader("vqav2", vqa.folder), ["train", "val"])
    assert (train.examples, train.pictures) == (6, 3)
    assert (val.examples, val.pictures) == (2, 1)


def test_missing_pictures_are_told_with_an_example_that_wants_them(vqa) -> None:
    (vqa / "COCO/images/val2014/COCO_val2014_000000000051.png").unlink()
    reader = load_reader("vqav2", vqa.folder)
    with pytest.raises(DataError) as caught:
        image_paths(reader, reader.read("val"))
    [line] = str(caught.value).splitlines()
    assert "COCO_val2014_000000000051" in line and "example 51000" in line


def test_a_truncated_picture_is_found(vqa) -> None:
    path = vqa / "COCO/images/val2014/COCO_val2014_000000000051.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"COCO_val2014_000000000051.png: not a readable picture"):
        check(load_reader("vqav2", vqa.folder), ["val"])
