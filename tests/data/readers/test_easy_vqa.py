from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.data.conftest import Root, picture
from vlbench.data.readers import easy_vqa
from vlbench.data.readers.easy_vqa import EasyVQA
from vlbench.data.table import fingerprint
from vlbench.errors import DataError, MissingError

QUESTIONS = [
    ["what is the blue shape?", "rectangle", 10],
    ["what color is the shape?", "teal", 1],
    ["is there a triangle?", "no", 10],
    ["is there not a triangle?", "yes", 1],
]


def write(root: Root, folder: str) -> Path:
    for part in ("train", "test"):
        root.write(f"{folder}/{part}/questions.json", QUESTIONS)
        for image in (1, 10):
            picture(root / f"{folder}/{part}/images/{image}.png", image)
    return root / folder


@pytest.fixture(autouse=True)
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(easy_vqa, "package_data", lambda: None)


def test_validation_holds_every_tenth_image_out_of_training(root: Root) -> None:
    write(root, "easy-vqa")
    reader = EasyVQA(root.folder)
    found = {split: [example.id for example in reader.read(split)] for split in reader.splits}
    assert found == {"train": ["1", "3"], "val": ["0", "2"], "test": ["0", "1", "2", "3"]}
    families = [example.family for example in reader.read("test")]
    assert families == ["shape", "colour", "yes/no", "yes/no"]


def test_pictures_of_both_parts_have_the_same_numbers_and_are_told_apart(root: Root) -> None:
    folder = write(root, "easy-vqa")
    reader = EasyVQA(root.folder)
    [train, test] = [reader.read(split)[0] for split in ("val", "test")]
    assert (train.images, test.images) == (("train-10",), ("test-10",))
    assert reader.image_path("test-10") == folder / "test/images/10.png"
    assert test.annotation == {"label": "rectangle"}
    assert test.targets == {"rectangle": 1.0}


def test_the_root_wins_over_the_package_and_has_the_same_fingerprint(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write(root, "site/easy_vqa/data")
    monkeypatch.setattr(easy_vqa, "package_data", lambda: package)
    packaged = EasyVQA(root.folder)
    assert packaged.files("val") == [package / "train/questions.json"]
    own = write(root, "easy-vqa")
    reader = EasyVQA(root.folder)
    assert reader.files("val") == [own / "train/questions.json"]
    prints = {fingerprint(each.files("val"), each.folder) for each in (packaged, reader)}
    assert len(prints) == 1


def test_without_both_the_message_says_what_to_type(root: Root) -> None:
    with pytest.raises(MissingError, match="Install it with: pip install easy-vqa"):
        EasyVQA(root.folder).read("train")
    (write(root, "easy-vqa") / "test/questions.json").unlink()
    with pytest.raises(MissingError, match=r"easy-vqa/test/questions\.json"):
        EasyVQA(root.folder).read("test")


def test_faulty_questions_are_named_by_number(root: Root) -> None:
    write(root, "easy-vqa")
    root.write("easy-vqa/test/questions.json", [*QUESTIONS, ["what?", "red"], {"a": 1}])
    with pytest.raises(DataError) as caught:
        EasyVQA(root.folder).read("test")
    message = "should be [question, answer, image number], found"
    assert f'question number 5: {message} ["what?", "red"]' in str(caught.value)
    assert f'question number 6: {message} {{"a": 1}}' in str(caught.value)


def test_the_published_package_has_the_counts_of_the_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from vlbench.cards import load_task

    if find_spec("easy_vqa") is None:
        pytest.skip("the package easy-vqa is not installed")
    monkeypatch.undo()
    reader, card = EasyVQA(tmp_path), load_task("easy-vqa")
    splits = {split: reader.read(split) for split in reader.splits}
    assert {split: len(examples) for split, examples in splits.items()} == card.sizes
    images = [{example.images for example in splits[split]} for split in ("train", "val")]
    assert not images[0] & images[1]
    answers = {
        answer for examples in splits.values() for each in examples for answer in each.targets
    }
    assert answers == set(card.choices)
    assert all(reader.image_path(each.images[0]).is_file() for each in splits["test"][::97])
