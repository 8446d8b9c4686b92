from __future__ import annotations

from typing import Any

import pytest

from tests.data.conftest import picture
from vlbench.data.batches import sample_answer
from vlbench.data.readers.vqav2 import VQAv2, soft_scores
from vlbench.errors import DataError, MissingError
from vlbench.metrics import vqa as vqa_metric

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


def test_the_annotation_keeps_all_ten_answers_with_their_ids(vqa) -> None:
    [first, _] = VQAv2(vqa.folder).read("val")
    assert [answer["answer_id"] for answer in first.annotation["answers"]] == list(range(1, 11))
    assert (first.annotation["question_id"], first.annotation["image_id"]) == (51000, 51)


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


def test_all_missing_files_are_named_in_one_message(tmp_path) -> None:
    with pytest.raises(MissingError) as caught:
        VQAv2(tmp_path).read("train")
    message = str(caught.value)
    assert "--root" in message and "COCO/dataset_coco.json" in message
    for part in ("train2014", "val2014"):
        assert f"v2_OpenEnded_mscoco_{part}_questions.json" in message
        assert f"v2_mscoco_{part}_annotations.json" in message
    assert caught.value.exit_code == 3


def test_a_question_without_an_image_is_named_with_its_file(vqa) -> None:
    vqa.edit(QUESTIONS, lambda value: value["questions"][0].update(image_id=7))
    with pytest.raises(DataError) as caught:
        VQAv2(vqa.folder).read("train")
    path = vqa / QUESTIONS
    assert f"{path}: question 9000: no image 7 in COCO/dataset_coco.json" in str(caught.value)


def test_an_annotation_without_answers_is_named_with_its_file(vqa) -> None:
    vqa.edit(ANSWERS, lambda value: value["annotations"][0].update(answers=[]))
    vqa.edit(ANSWERS, lambda value: value["annotations"][1].pop("answers"))
    with pytest.raises(DataError) as caught:
        VQAv2(vqa.folder).read("val")
    path = vqa / ANSWERS
    assert str(caught.value).splitlines() == [
        f"{path}: question 9000: no answers",
        f"{path}: question 9001: 'answers' is missing",
    ]


def test_a_question_without_an_annotation_and_the_reverse_are_named(vqa) -> None:
    vqa.edit(ANSWERS, lambda value: value["annotations"].pop(0))
    with pytest.raises(DataError, match="question 9000: no annotation in v2_mscoco_val2014"):
        VQAv2(vqa.folder).read("val")
    vqa.edit(QUESTIONS, lambda value: value["questions"].pop(0))
    vqa.edit(QUESTIONS, lambda value: value["questions"].pop(0))
    with pytest.raises(DataError, match="question 9001: no such question in v2_OpenEnded"):
        VQAv2(vqa.folder).read("val")


def test_of_many_faults_ten_are_named_and_counted(vqa) -> None:
    def spoil(value) -> None:
        value["questions"] += [{"question_id": n, "image_id": 7} for n in range(30)]

    vqa.edit(QUESTIONS, spoil)
    with pytest.raises(DataError) as caught:
        VQAv2(vqa.folder).read("val")
    lines = str(caught.value).splitlines()
    assert len(lines) == 11 and lines[-1] == "... and 20 more: 30 faults in all"


def test_what_is_inconsistent_is_named(vqa) -> None:
    vqa.edit(ANSWERS, lambda value: value["annotations"][0].update(image_id=51))
    with pytest.raises(DataError, match="question 9000: is about another image than in"):
        VQAv2(vqa.folder).read("train")
    vqa.edit(ANSWERS, lambda value: value["annotations"].append(value["annotations"][0]))
    with pytest.raises(DataError, match="question 9000: is there twice"):
        VQAv2(vqa.folder).read("val")


# The authors' lists, where official files are absent

KARPATHY = "vqa/karpathy_val.json"


def question(number: int, label: dict[str, float], **changes: Any) -> dict[str, Any]:
    return {
        "question_id": number,
        "img_id": "COCO_val2014_000000000051",
        "sent": "Where is the kite?",
        "label": label,
        "answer_type": "other",
        "question_type": "where is the",
        "is_topk_optimal": bool(label),
        **changes,
    }


@pytest.fixture
def karpathy(vqa):
    """As the authors' folder has it: their lists, and the official annotations, no questions."""
    (vqa / "COCO/dataset_coco.json").unlink()
    for split in ("train", "val", "test"):
        records = [question(51000, {"blue": 1.0, "2": 0.9}), question(51001, {})]
        vqa.write(f"vqa/karpathy_{split}.json", records)
    return vqa


def test_vqa_targets_are_the_label_and_an_empty_one_is_nothing_to_learn(karpathy) -> None:
    first, second = VQAv2(karpathy.folder).read("train", for_training=True)
    assert (first.id, first.text) == ("51000", "Where is the kite?")
    assert first.images == ("COCO_val2014_000000000051",)
    assert (first.targets, first.family) == ({"blue": 1.0, "2": 0.9}, "where is the")
    assert first.annotation == second.annotation == {}
    assert sample_answer(second.targets, None) == ("", 0.0)  # type: ignore[arg-type]


def test_vqa_is_scored_by_the_ten_official_answers(karpathy) -> None:
    examples = VQAv2(karpathy.folder).read("val")
    assert [len(example.annotation["answers"]) for example in examples] == [10, 10]
    assert examples[1].family == "what is"  # the official record's
    annotations = {example.id: example.annotation for example in examples}
    scored = vqa_metric.score(annotations, {"51000": "blue", "51001": "2"})
    assert scored.per_example["51000"] == 1.0
    assert 0.8 < scored.per_example["51001"] < 1.0


def test_vqa_is_scored_by_the_answers_of_the_record_where_it_has_them(karpathy) -> None:
    answers = [{"answer": "kite", "answer_confidence": "yes", "answer_id": n} for n in range(10)]
    record = question(51000, {}, answers=answers)
    record["question"] = record.pop("sent").upper()  # as some copies have it
    karpathy.write(KARPATHY, [record])
    (karpathy / ANSWERS).unlink()
    [example] = VQAv2(karpathy.folder).read("val")
    assert (example.text, example.annotation["answers"]) == ("WHERE IS THE KITE?", answers)


def test_vqa_without_any_raw_answers_trains_but_is_not_scored(karpathy) -> None:
    (karpathy / ANSWERS).unlink()
    reader = VQAv2(karpathy.folder)
    assert len(reader.read("val", for_training=True)) == 2
    with pytest.raises(MissingError) as caught:
        reader.read("val")
    assert str(caught.value).startswith(f"{karpathy / KARPATHY}: has no 'answers' to score by")
    assert str(caught.value).endswith(f"\n  {karpathy / ANSWERS}")


def test_vqa_looks_for_answers_where_the_name_of_the_image_tells(karpathy) -> None:
    records = [question(42000, {}, img_id="COCO_train2014_000000000042"), question(51000, {})]
    karpathy.write("vqa/karpathy_train.json", records)
    reader = VQAv2(karpathy.folder)
    assert [example.annotation["image_id"] for example in reader.read("train")] == [42, 51]
    karpathy.write("vqa/karpathy_train.json", [question(42000, {}, img_id="42")])
    with pytest.raises(DataError, match=r"question 42000: no annotation of it, or of 42"):
        reader.read("train")


def test_vqa_questions_without_an_official_annotation_are_named(karpathy) -> None:
    karpathy.write(KARPATHY, [question(7, {})])
    with pytest.raises(DataError, match=f"{KARPATHY}: question 7: no annotation"):
        VQAv2(karpathy.folder).read("val")


def test_official_vqa_files_win(vqa) -> None:
    vqa.write(KARPATHY, [question(7, {})])
    reader = VQAv2(vqa.folder)
    assert [example.id for example in reader.read("val")] == ["51000", "51001"]
    assert vqa / KARPATHY not in reader.files("val")


def test_faulty_records_of_the_authors_files_are_named_by_question(karpathy) -> None:
    records = [
        question(1, {"blue": 1.5}),
        {**question(2, {}), "label": None},
        question(3, {}, img_id=51),
        question(4, {}),
        question(4, {}),
        3,
    ]
    karpathy.write(KARPATHY, records)
    with pytest.raises(DataError) as caught:
        VQAv2(karpathy.folder).read("val", for_training=True)
    start = f"{karpathy / KARPATHY}: question"
    assert str(caught.value).splitlines() == [
        f"{start} 1: 'label' of \"blue\" should be a score, 0 to 1: 1.5",
        f"{start} 2: 'label' should be an object, found null",
        f"{start} 3: 'img_id' should be a string, found 51",
        f"{start} 4: is there twice",
        f"{start} number 6: should be an object, found 3",
    ]
