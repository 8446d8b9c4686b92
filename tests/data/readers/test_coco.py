from __future__ import annotations

import pytest

from vlbench.data.readers.coco import COCO
from vlbench.errors import DataError, MissingError

FILE = "COCO/dataset_coco.json"


def test_restval_trains(coco) -> None:
    assert [example.id for example in COCO(coco.folder).read("train")] == ["9", "42", "33"]


def test_training_has_one_example_per_image_and_caption(coco) -> None:
    examples = COCO(coco.folder).read_train("train")
    assert len(examples) == 5 + 6 + 5
    assert examples[0].id == "9-900"
    assert examples[0].targets == {"A thing 0.": 1.0}
    assert len({example.id for example in examples}) == 16


def test_evaluation_has_one_example_per_image_with_all_raw_captions(coco) -> None:
    [example] = COCO(coco.folder).read("val")
    assert example.id == "51"  # the cocoid, neither imgid nor sentid
    assert example.text == ""
    assert example.images == ("COCO_val2014_000000000051",)
    assert example.annotation["captions"] == [f"A thing {n}." for n in range(5)]


def test_repeated_captions_stay_references(coco) -> None:
    coco.edit(FILE, lambda value: value["images"][4]["sentences"][1].update(raw="A thing 0."))
    [example] = COCO(coco.folder).read("test")
    assert example.annotation["captions"].count("A thing 0.") == 2


def test_an_image_without_captions_is_told(coco) -> None:
    coco.edit(FILE, lambda value: value["images"][3].update(sentences=[]))
    with pytest.raises(DataError) as caught:
        COCO(coco.folder).read("val")
    assert str(caught.value) == f"{coco / FILE}: image 51: no captions"


def test_a_repeated_image_is_told(coco) -> None:
    coco.edit(FILE, lambda value: value["images"].append(value["images"][0]))
    with pytest.raises(DataError, match="image 9: is there twice"):
        COCO(coco.folder).read("val")


def test_a_split_without_examples_is_told(coco) -> None:
    coco.edit(FILE, lambda value: value["images"].pop())
    with pytest.raises(DataError, match="no example of the split 'test'"):
        COCO(coco.folder).read("test")


def test_a_missing_picture_is_named(coco) -> None:
    with pytest.raises(MissingError, match=r"val2014/COCO_val2014_000000000001\.jpg: no such pict"):
        COCO(coco.folder).image_path("COCO_val2014_000000000001")
