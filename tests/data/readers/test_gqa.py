from __future__ import annotations

import json

import pytest

from vlbench.data.readers.gqa import GQA
from vlbench.errors import DataError
from vlbench.metrics.gqa import score

FILE = "GQA/testdev_balanced_questions.json"


def test_ids_that_differ_by_a_leading_zero_are_two_questions(gqa) -> None:
    answers = {example.id: example.targets for example in GQA(gqa.folder).read("testdev")}
    assert answers == {"01827492": {"white": 1.0}, "1827492": {"red": 1.0}}


def test_unbalanced_questions_are_in_the_split_of_all_questions(gqa) -> None:
    gqa.write("GQA/testdev_all_questions.json", json.loads((gqa / FILE).read_text()))
    reader = GQA(gqa.folder)
    assert [example.id for example in reader.read("testdev")] == ["01827492", "1827492"]
    examples = reader.read("testdev_all")
    assert [example.id for example in examples] == ["01827492", "1827492", "7"]
    assert [example.annotation["isBalanced"] for example in examples] == [True, True, False]


def test_all_training_questions_are_a_folder_of_ten_files(gqa) -> None:
    record = json.loads((gqa / FILE).read_text())["7"]
    name = "GQA/train_all_questions/train_all_questions_{}.json"
    for chunk in range(10):
        gqa.write(name.format(chunk), {f"0{chunk}": record})
    reader = GQA(gqa.folder)
    assert [example.id for example in reader.read("train_all", for_training=True)] == [
        f"0{chunk}" for chunk in range(10)
    ]
    (gqa / name.format(4)).unlink()
    assert reader.missing_files("train_all") == [gqa / name.format(4)]
    gqa.write(name.format(4), {"03": record})
    with pytest.raises(DataError, match=r"train_all_questions_4.json: question 03: is there twice"):
        reader.read("train_all")


@pytest.mark.parametrize(
    ("split", "file"), [("test", "test_balanced"), ("submission", "submission_all")]
)
def test_questions_without_answers_are_read_as_they_are(gqa, split, file) -> None:
    record = {"question": "Is it red?", "imageId": "n161313", "isBalanced": False}
    gqa.write(f"GQA/{file}_questions.json", {"0201": record})
    [example] = GQA(gqa.folder).read(split)
    assert (example.id, example.targets, example.annotation) == ("0201", {}, record)


# The authors' lists, where official files are absent


@pytest.fixture
def gqa_lists(gqa):
    for official, theirs in {"train": "train", "val": "valid", "testdev": "testdev"}.items():
        (gqa / f"GQA/{official}_balanced_questions.json").unlink()
        record = {"img_id": "n161313", "sent": "Is it sunny?", "label": {"yes": 1.0}}
        ids = ("01827492", "1827492")
        gqa.write(f"GQA/{theirs}.json", [{**record, "question_id": each} for each in ids])
    return gqa


def test_gqa_from_the_authors_lists_has_accuracy_and_nothing_else(gqa_lists) -> None:
    reader = GQA(gqa_lists.folder)
    examples = reader.read("testdev")
    assert [example.id for example in examples] == ["01827492", "1827492"]
    assert examples[0].images == ("n161313",)
    annotations = {example.id: example.annotation for example in examples}
    scored = score(annotations, {"01827492": "yes", "1827492": "no"})
    assert scored.metrics == {"accuracy": 50.0}
    assert reader.read("val", for_training=True)[0].targets == {"yes": 1.0}
    assert reader.files("val")[0].name == "valid.json"
