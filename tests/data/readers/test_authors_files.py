"""The authors' preprocessed files, where the official ones are absent."""

from __future__ import annotations

from typing import Any

import pytest

from vlbench.data.batches import sample_answer
from vlbench.data.readers.gqa import GQA
from vlbench.data.readers.nlvr import NLVR2
from vlbench.data.readers.vqav2 import VQAv2
from vlbench.errors import DataError, MissingError
from vlbench.metrics import gqa as gqa_metric
from vlbench.metrics import labels as nlvr2_metric
from vlbench.metrics import vqa as vqa_metric

KARPATHY = "vqa/karpathy_val.json"
ANSWERS = "vqa/v2_mscoco_val2014_annotations.json"


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
    first, second = VQAv2(karpathy.folder).read_train("train")
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
    karpathy.write(KARPATHY, [question(51000, {}, answers=answers)])
    (karpathy / ANSWERS).unlink()
    [example] = VQAv2(karpathy.folder).read("val")
    assert example.annotation["answers"] == answers


def test_vqa_without_any_raw_answers_trains_but_is_not_scored(karpathy) -> None:
    (karpathy / ANSWERS).unlink()
    reader = VQAv2(karpathy.folder)
    assert len(reader.read_train("val")) == 2
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
    with pytest.raises(DataError, match=r"question 42000: 'img_id' should be COCO_val2014_"):
        reader.read("train")


def test_vqa_questions_without_an_official_annotation_are_told(karpathy) -> None:
    karpathy.write(KARPATHY, [question(7, {})])
    with pytest.raises(DataError, match=f"{ANSWERS}: question 7: no annotation"):
        VQAv2(karpathy.folder).read("val")


def test_the_words_may_be_under_question(karpathy) -> None:
    record = question(51000, {})
    record["question"] = record.pop("sent").upper()
    karpathy.write(KARPATHY, [record])
    assert VQAv2(karpathy.folder).read("val")[0].text == "WHERE IS THE KITE?"


def test_official_vqa_files_win(vqa) -> None:
    vqa.write(KARPATHY, [question(7, {})])
    reader = VQAv2(vqa.folder)
    assert [example.id for example in reader.read("val")] == ["51000", "51001"]
    assert vqa / KARPATHY not in reader.files("val")


def test_faulty_records_of_the_authors_files_are_told_by_question(karpathy) -> None:
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
        VQAv2(karpathy.folder).read_train("val")
    start = f"{karpathy / KARPATHY}: question"
    assert str(caught.value).splitlines() == [
        f"{start} 1: 'label' of \"blue\" should be a score, 0 to 1: 1.5",
        f"{start} 2: 'label' should be an object, found null",
        f"{start} 3: 'img_id' should be a string, found 51",
        f"{start} 4: is there twice",
        f"{start} number 6: should be an object, found 3",
    ]


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
    scored = gqa_metric.score(annotations, {"01827492": "yes", "1827492": "no"})
    assert scored.metrics == {"accuracy": 50.0}
    assert reader.read_train("val")[0].targets == {"yes": 1.0}
    assert reader.files("val")[0].name == "valid.json"


def test_a_gqa_question_without_an_answer_trains_but_is_not_scored(gqa_lists) -> None:
    gqa_lists.edit("GQA/testdev.json", lambda value: value[0].update(label={}))
    reader = GQA(gqa_lists.folder)
    assert reader.read_train("testdev")[0].targets == {}
    with pytest.raises(DataError, match="question 01827492: 'label' has no answer to score by"):
        reader.read("testdev")


def test_official_gqa_files_win(gqa) -> None:
    gqa.write("GQA/testdev.json", [])
    assert GQA(gqa.folder).files("testdev")[0].name == "testdev_balanced_questions.json"


@pytest.fixture
def nlvr_lists(nlvr2):
    (nlvr2 / "nlvr2/dev.json").unlink()
    record = {"img0": "dev-812-1-img0", "img1": "dev-812-1-img1", "sent": "Two mugs."}
    records = [
        {**record, "identifier": f"dev-812-1-{n}", "label": n, "uid": f"nlvr2_valid_{n}"}
        for n in range(2)
    ]
    nlvr2.write("nlvr/valid.json", records)
    return nlvr2


def test_nlvr2_from_the_authors_lists_is_scored_as_the_official_files_are(nlvr_lists) -> None:
    examples = NLVR2(nlvr_lists.folder).read("dev")
    assert [example.targets for example in examples] == [{"false": 1.0}, {"true": 1.0}]
    assert examples[0].images == ("dev-812-1-img0", "dev-812-1-img1")
    annotations = {example.id: example.annotation for example in examples}
    scored = nlvr2_metric.nlvr2(annotations, {"dev-812-1-0": "false", "dev-812-1-1": "false"})
    assert scored.metrics == {"accuracy": 50.0, "consistency": 50.0}


def test_faulty_labels_of_the_nlvr2_lists_are_told(nlvr_lists) -> None:
    nlvr_lists.edit("nlvr/valid.json", lambda value: value[0].update(label=2))
    nlvr_lists.edit("nlvr/valid.json", lambda value: value[1].update(label="True"))
    with pytest.raises(DataError) as caught:
        NLVR2(nlvr_lists.folder).read("dev")
    path = nlvr_lists / "nlvr/valid.json"
    assert str(caught.value).splitlines() == [
        f"{path}: statement dev-812-1-0: 'label' should be 0 or 1, found 2",
        f"{path}: statement dev-812-1-1: 'label' should be a whole number, found \"True\"",
    ]


def test_official_nlvr2_files_win_and_test2_is_only_official(nlvr2) -> None:
    nlvr2.write("nlvr/valid.json", [])
    reader = NLVR2(nlvr2.folder)
    assert reader.read("dev")[0].annotation["sentence"] == "Two dogs."
    assert [str(file.name) for file in reader.missing_files("test2")] == ["test2.json"]
