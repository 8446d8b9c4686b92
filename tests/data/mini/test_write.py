from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.data.mini.builders import TINY, digests
from vlbench.cards.load import load_task
from vlbench.data.images import find_pictures
from vlbench.data.mini.write import SIZES, VERSION, write_mini
from vlbench.data.readers import load_reader

ANNOTATIONS = "fd065c40332f180707ce60077d5fc7a9a94e21452cb7d220e0ddb9eede765ec9"
"""sha256 over the JSON files of the tiny edition, seed 0; `pytest -vv` shows the new one."""


def written(folder: Path, seed: int) -> dict[str, str]:
    folder.mkdir()
    write_mini(folder, seed, TINY)
    return digests(folder)


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tiny, tmp_path) -> None:
    first, again, other = digests(tiny), written(tmp_path / "a", 0), written(tmp_path / "b", 1)
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_what_version_1_writes_does_not_change(tiny) -> None:
    """If this fails on purpose, raise VERSION: numbers made with other files are other numbers."""
    texts = [tiny / name for name in sorted(digests(tiny)) if name.endswith(".json")]
    found = hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()
    assert (VERSION, found) == (1, ANNOTATIONS)


@pytest.mark.parametrize("task", ["vqav2", "gqa", "nlvr2", "coco"])
def test_the_official_readers_find_no_fault(tiny, task) -> None:
    card = load_task(task)
    splits = card.splits["mini"]
    names = [*splits.train, *splits.val, *splits.test]
    reader = load_reader(card.reader, tiny)
    found = [find_pictures(reader, reader.read(name)) for name in names]
    assert not any(faults.texts for _, faults in found)
    pictures = {"vqav2": [16, 3, 3], "coco": [16, 3, 3], "gqa": [8, 2, 2], "nlvr2": [24, 16, 16]}
    assert [len(paths) for paths, _ in found] == pictures[task]


def test_the_embedded_edition_has_the_sizes_it_says(edition) -> None:
    for part in ("train", "val", "test"):
        assert len(edition.examples["coco", part]) == SIZES.coco[part]
        vqav2 = len(edition.examples["vqav2", part]) / SIZES.coco[part]
        assert 0.9 * SIZES.vqa_questions < vqav2 <= SIZES.vqa_questions
        assert len(edition.examples["nlvr2", part]) == 8 * SIZES.nlvr2[part]
        gqa = len(edition.examples["gqa", part]) / SIZES.gqa[part]
        assert SIZES.gqa_questions - 1 <= gqa <= SIZES.gqa_questions


def test_validation_pictures_lie_in_val2014_and_restval_is_trained_on(tiny) -> None:
    images = json.loads((tiny / "COCO/dataset_coco.json").read_text())["images"]
    places = {(image["split"], image["filepath"]) for image in images}
    assert places == {
        ("train", "train2014"), ("restval", "val2014"), ("val", "val2014"), ("test", "val2014")
    }  # fmt: skip


def test_official_fields_are_all_there(tiny) -> None:
    def first(name: str, *keys: str) -> dict:
        record = json.loads((tiny / name).read_text())
        for key in keys:
            record = record[key]
        return next(iter(record.values() if isinstance(record, dict) else record))

    assert first("vqa/v2_mscoco_val2014_annotations.json", "annotations").keys() == {
        "question_type", "multiple_choice_answer", "answers", "image_id", "answer_type",
        "question_id",
    }  # fmt: skip
    assert first("GQA/testdev_balanced_questions.json").keys() == {
        "semantic", "entailed", "equivalent", "question", "imageId", "isBalanced", "groups",
        "answer", "semanticStr", "annotations", "types", "fullAnswer",
    }  # fmt: skip
    line = (tiny / "nlvr2/train.json").read_text().splitlines()[0]
    assert json.loads(line).keys() == {
        "validation", "sentence", "left_url", "right_url", "writer", "label", "synset", "query",
        "identifier", "directory",
    }  # fmt: skip
    assert first("COCO/dataset_coco.json", "images").keys() == {
        "filepath", "filename", "imgid", "cocoid", "split", "sentids", "sentences",
    }  # fmt: skip
