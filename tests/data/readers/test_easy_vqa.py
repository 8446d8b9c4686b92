from __future__ import annotations

import importlib.machinery
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.data.conftest import Root, picture
from vlbench.data.readers import easy_vqa
from vlbench.data.readers.easy_vqa import EasyVQA
from vlbench.errors import MissingError

QUESTIONS = [
    ["what is the blue shape?", "rectangle", 10],
    ["what color is the shape?", "teal", 1],
    ["is there a triangle?", "no", 10],
    ["is there not a triangle?", "yes", 1],
]


@pytest.fixture
def reader(root: Root, monkeypatch: pytest.MonkeyPatch) -> EasyVQA:
    """It reads a package with few questions, both parts alike."""
    for part in ("train", "test"):
        root.write(f"data/{part}/questions.json", QUESTIONS)
        picture(root / f"data/{part}/images/10.png")
    spec = importlib.machinery.ModuleSpec("easy_vqa", None, origin=str(root / "__init__.py"))
    monkeypatch.setattr(easy_vqa, "find_spec", lambda name: spec)
    return EasyVQA(root.folder)


def test_validation_holds_every_tenth_image_out_of_training(reader: EasyVQA) -> None:
    ids = {split: [example.id for example in reader.read(split)] for split in reader.splits}
    assert ids == {"train": ["1", "3"], "val": ["0", "2"], "test": ["0", "1", "2", "3"]}
    families = [example.family for example in reader.read("test")]
    assert families == ["shape", "colour", "yes/no", "yes/no"]


def test_pictures_of_both_parts_have_the_same_numbers_and_are_told_apart(reader: EasyVQA) -> None:
    [val, test] = [reader.read(split)[0] for split in ("val", "test")]
    assert (val.images, test.images) == (("train-10",), ("test-10",))
    assert reader.image_path("test-10") == reader.folder / "test/images/10.png"
    assert (test.annotation, test.targets) == ({"label": "rectangle"}, {"rectangle": 1.0})


def test_without_the_package_the_message_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(easy_vqa, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="Install it with: pip install easy-vqa"):
        EasyVQA(Path()).read("train")


def test_the_published_package_has_the_counts_of_the_card(tmp_path: Path) -> None:
    from vlbench.cards import load_task

    if find_spec("easy_vqa") is None:
        pytest.skip("the package easy-vqa is not installed")
    reader, card = EasyVQA(tmp_path), load_task("easy-vqa")
    splits = {split: reader.read(split) for split in reader.splits}
    assert {split: len(examples) for split, examples in splits.items()} == card.sizes
    images = [{example.images for example in splits[split]} for split in ("train", "val")]
    assert not images[0] & images[1]
    answers = {answer for examples in splits.values() for e in examples for answer in e.targets}
    assert answers == set(card.choices)
    assert all(reader.image_path(e.images[0]).is_file() for e in splits["test"][::97])
