from __future__ import annotations

import pytest

from tests.data.conftest import picture
from vlbench.data.readers import base
from vlbench.data.readers.coco import COCO
from vlbench.data.readers.vqav2 import VQAv2
from vlbench.errors import DataError

FILE = "COCO/dataset_coco.json"


def test_restval_trains_with_one_example_per_image_and_caption(coco) -> None:
    reader = COCO(coco.folder)
    assert [example.id for example in reader.read("train")] == ["9", "42", "33"]
    examples = reader.read("train", for_training=True)
    assert len({example.id for example in examples}) == len(examples) == 5 + 6 + 5
    assert (examples[0].id, examples[0].targets) == ("9-900", {"A thing 0.": 1.0})


def test_evaluation_has_one_example_per_image_with_all_raw_captions(coco) -> None:
    raw = "A\rB\u2028C\vD\fE\n"  # one text, whatever line breaks are in it
    coco.edit(FILE, lambda value: value["images"][3]["sentences"][0].update(raw=raw))
    [example] = COCO(coco.folder).read("val")
    assert example.id == "51"  # the cocoid, neither imgid nor sentid
    assert (example.text, example.images) == ("", ("COCO_val2014_000000000051",))
    captions = ["A\rB\u2028C\vD\fE", *(f"A thing {n}." for n in range(1, 5))]
    assert example.annotation["captions"] == captions
    coco.edit(FILE, lambda value: value["images"][4]["sentences"][1].update(raw="A thing 0."))
    [example] = COCO(coco.folder).read("test")
    assert example.annotation["captions"].count("A thing 0.") == 2


def test_official_captions_are_grouped_by_image_and_keep_what_is_there_twice(coco) -> None:
    captions = [(51, "A kite.\n"), (51, "A kite.\n"), (64, "A dog. "), (51, "B")]
    annotations = [
        {"id": number, "image_id": image, "caption": caption}
        for number, (image, caption) in enumerate(captions)
    ]
    images = [{"id": image} for image in (64, 51)]
    name = "COCO/annotations/captions_val2014.json"
    path = coco.write(name, {"images": images, "annotations": annotations})
    gold = dict(base.read_all(COCO(coco.folder).read_annotations, path))
    assert gold["51"] == {"image_id": 51, "captions": ["A kite.", "A kite.", "B"]}
    assert gold["64"]["captions"] == ["A dog."]
    trained = COCO(coco.folder).read("val2014", for_training=True)
    assert [example.id for example in trained] == ["51-0", "51-1", "51-3", "64-2"]
    assert trained[0].images == ("COCO_val2014_000000000051",)


def test_faulty_images_are_named(coco) -> None:
    coco.edit(FILE, lambda value: value["images"][3].update(sentences=[]))
    coco.edit(FILE, lambda value: value["images"].append(value["images"][0]))
    with pytest.raises(DataError) as caught:
        COCO(coco.folder).read("val")
    assert str(caught.value).splitlines() == [
        f"{coco / FILE}: image 51: no captions",
        f"{coco / FILE}: image 9: is there twice",
    ]
    coco.edit(FILE, lambda value: value.update(images=value["images"][:1]))
    with pytest.raises(DataError, match="no example of the split 'test'"):
        COCO(coco.folder).read("test")


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("COCO_train2014_000000458752", "train2017/000000458752.jpg"),
        ("COCO_val2014_000000000042", "train2017/000000000042.png"),  # 2017 drew the splits anew
        ("COCO_train2014_000000000043", "val2017/000000000043.jpg"),
        ("COCO_test2015_000000000001", "test2017/000000000001.jpg"),
        ("COCO_val2014_000000000042", "val2014/000000000042.jpg"),
        ("COCO_val2014_000000000042", "000000000042.jpg"),
        ("COCO_val2014_000000000042", "COCO_val2014_000000000042.jpg"),
        ("000000000042", "train2017/000000000042.jpg"),
        ("000000000042", "val2014/COCO_val2014_000000000042.jpg"),
    ],
)
@pytest.mark.parametrize("reader", [COCO, VQAv2])
def test_a_picture_is_found_under_its_names_of_2014_and_2017(root, reader, image, file) -> None:
    path = picture(root / "COCO/images" / file)
    assert reader(root.folder).image_path(image) == path
