from __future__ import annotations

import pytest

from tests.data.conftest import picture
from vlbench.data.readers.vqav2 import VQAv2, soft_scores
from vlbench.errors import DataError

QUESTIONS = "vqa/v2_OpenEnded_mscoco_val2014_questions.json"
ANSWERS = "vqa/v2_mscoco_val2014_annotations.json"
KARPATHY_SPLITS = ("train", "val", "test")


def test_questions_go_to_the_karpathy_split_of_their_image(vqa) -> None:
    reader = VQAv2(vqa.folder)
    images = {
        split: {image for example in reader.read(split) for image in example.images}
        for split in KARPATHY_SPLITS
    }
    assert {name[-2:] for name in images["train"]} == {"09", "42", "33"}
    assert images["val"] == {"COCO_val2014_000000000051"}
    assert images["test"] == {"COCO_val2014_000000000064"}
    path = reader.image_path("COCO_val2014_000000000033")  # restval: the name gives the folder
    assert path == vqa / "COCO/images/val2014/COCO_val2014_000000000033.png"
    ids = [example.id for split in KARPATHY_SPLITS for example in reader.read(split)]
    assert len(ids) == len(set(ids)) == 10


def test_targets_are_raw_answers_with_soft_scores_by_count(vqa) -> None:
    example = VQAv2(vqa.folder).read("val")[0]
    assert example.id == "51000"
    assert example.text == "What is 0?"
    assert example.family == "what is"
    assert example.targets == {"Red ": 0.3, "red": 0.6, "2": 0.9, "blue": 1.0}
    assert soft_scores({"answers": [{"answer": "yes"}] * 10}) == {"yes": 1.0}


def test_the_authors_answer_list_restricts_the_targets_and_may_leave_none(vqa) -> None:
    vqa.write("vqa/trainval_ans2label.json", {"": 0, "blue": 1})
    reader = VQAv2(vqa.folder)
    assert reader.read("val")[0].targets == {"blue": 1.0}
    assert reader.files("val")[-1].name == "trainval_ans2label.json"
    vqa.write("vqa/trainval_ans2label.json", {"green": 0})
    assert reader.read("val")[0].targets == {}


def test_training_learns_what_evaluation_scores(vqa) -> None:
    reader = VQAv2(vqa.folder)
    pairs = zip(reader.read("train", for_training=True), reader.read("train"), strict=True)
    for trained, scored in pairs:
        assert (trained.id, trained.text, trained.images) == (scored.id, scored.text, scored.images)
        assert (trained.targets, trained.family) == (scored.targets, scored.family)
        assert list(trained.targets) == list(scored.targets)  # the draw goes by their order
        assert trained.annotation == {} and trained.targets


def test_the_test_questions_have_no_targets_and_the_folder_of_their_year(vqa) -> None:
    record = {"image_id": 9, "question_id": 9000, "question": "Why?"}
    for split in ("test2015", "test-dev2015"):
        vqa.write(f"vqa/v2_OpenEnded_mscoco_{split}_questions.json", {"questions": [record]})
        [example] = VQAv2(vqa.folder).read(split)
        assert (example.id, example.targets, example.annotation) == ("9000", {}, record)
        assert example.images == ("COCO_test2015_000000000009",)
    path = picture(vqa / "COCO/images/test2015/COCO_test2015_000000000009.jpg")
    assert VQAv2(vqa.folder).image_path(example.images[0]) == path
    vqa.write("vqa/v2_OpenEnded_mscoco_test2015_questions.json", {"questions": [record, record]})
    with pytest.raises(DataError, match="question 9000: is there twice"):
        VQAv2(vqa.folder).read("test2015")


def test_a_question_without_an_image_is_named_with_its_file(vqa) -> None:
    vqa.edit(QUESTIONS, lambda value: value["questions"][0].update(image_id=7))
    vqa.edit(ANSWERS, lambda value: value["annotations"][0].update(image_id=7))
    with pytest.raises(DataError) as caught:
        VQAv2(vqa.folder).read("train")
    path = vqa / QUESTIONS
    assert f"{path}: question 9000: no image 7 in COCO/dataset_coco.json" in str(caught.value)


def test_a_question_without_an_annotation_and_the_reverse_are_named(vqa) -> None:
    vqa.edit(ANSWERS, lambda value: value["annotations"].pop(0))
    with pytest.raises(DataError, match="question 9000: no annotation in v2_mscoco_val2014"):
        VQAv2(vqa.folder).read("val")
    vqa.edit(QUESTIONS, lambda value: value["questions"].pop(0))
    vqa.edit(QUESTIONS, lambda value: value["questions"].pop(0))
    with pytest.raises(DataError, match="question 9001: not about image 9 in v2_OpenEnded"):
        VQAv2(vqa.folder).read("val")


def test_what_is_inconsistent_is_named(vqa) -> None:
    vqa.edit(ANSWERS, lambda value: value["annotations"][0].update(image_id=51))
    with pytest.raises(DataError, match="question 9000: not about image 51 in"):
        VQAv2(vqa.folder).read("train")
    vqa.edit(ANSWERS, lambda value: value["annotations"].append(value["annotations"][0]))
    with pytest.raises(DataError, match="question 9000: is there twice"):
        VQAv2(vqa.folder).read("val")
