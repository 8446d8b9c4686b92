from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from vlbench.errors import DataError, MissingError, UsageError
from vlbench.metrics import captions
from vlbench.metrics.java import require_java
from vlbench.metrics.official import (
    TASKS,
    Files,
    FileScore,
    check_per_example,
    score_files,
    write_per_example,
)

Write = Callable[[str, object], Path]

ANSWERS = [{"answer": "dog", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
VQA = {"annotations": [{"question_id": 5, "answers": ANSWERS, "answer_type": "other"}]}
GQA = {"05": {"question": "Which one?", "answer": "dog", "types": {"structural": "query"}}}
NLVR2 = '{"identifier": "dev-1-0-0", "label": "True"}\n{"identifier": "dev-1-1-0", "label": "True"}'
COCO = {"images": [{"id": 5}], "annotations": [{"image_id": 5, "caption": "A dog."}]}
QUESTIONS = '{"qid": 7, "answer_idx": 2}\n{"qid": 8, "answer_idx": 0}\n'
CLIPS = '{"clip_id": 3, "descs": [{"desc": "a dog"}, {"desc": "one dog"}]}\n'
PAIRS = "dev-1-0-0,true\r\ndev-1-1-0,True\n"
RIGHT: dict[str, tuple[object, object]] = {
    "vqav2": (VQA, [{"question_id": 5, "answer": "dog"}]),
    "gqa": (GQA, [{"questionId": "05", "prediction": "dog"}]),
    "nlvr2": (NLVR2, PAIRS),
    "nlvr": (NLVR2, PAIRS),
    "tvqa": (QUESTIONS, {"7": 2, "8": 0}),
    "how2qa": (QUESTIONS, {"8": 0, "7": 2}),
}
CAPTIONS: dict[str, tuple[object, object]] = {
    "coco": (COCO, [{"image_id": 5, "caption": "a dog"}]),
    "tvc": (CLIPS, '{"clip_id": 3, "descs": [{"desc": "a dog"}, {"desc": "never read"}]}'),
    "yc2c": (CLIPS, '{"clip_id": 3, "descs": [{"desc": "a dog"}]}'),
}


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faulty files are told where there is none too."""
    monkeypatch.setattr("vlbench.metrics.java.require_java", lambda: "java")


@pytest.fixture
def without_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What METEOR gives has a test of its own: it takes long to start."""
    try:
        require_java()
    except MissingError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(captions, "running_meteor", nullcontext)


def score(task: str, predictions: Path, annotations: Path, **more: Any) -> FileScore:
    return score_files(task, Files(predictions, annotations, **more))[0]


@pytest.mark.parametrize("task", RIGHT)
def test_official_files_of_every_task_are_scored(write: Write, task: str) -> None:
    annotations, predictions = RIGHT[task]
    found = score(task, write("results", predictions), write("gold", annotations))
    assert found.metrics["accuracy"] == 100
    assert set(found.scores["accuracy"].values()) == {100}
    assert found.n == len(found.scores["accuracy"])


def test_every_task_has_a_test_of_its_files() -> None:
    assert set(TASKS) == {*RIGHT, *CAPTIONS}


@pytest.mark.parametrize(
    ("task", "predictions", "message"),
    [
        ("vqav2", "[{", "results: not JSON: .*line 1"),
        ("vqav2", {}, "results: the file should be a list, found {}"),
        ("vqav2", [3], "1 records that cannot be used: record 1 should be an object, found 3"),
        ("vqav2", [{"answer": "dog"}], "record 1: 'question_id' is missing"),
        ("vqav2", [{"question_id": "5", "answer": "dog"}], "'question_id' should be a whole numb"),
        ("vqav2", [{"question_id": True, "answer": "dog"}], "'question_id' should be a whole numb"),
        (
            "vqav2",
            [{"question_id": 5, "answer": 2}, {"question_id": 5, "answer": None}],
            r"results: 2 records that cannot be used: record 1 \(5\): 'answer' should be text, "
            r"found 2; record 2 \(5\): 'answer' should be text, found null\.$",
        ),
        ("vqav2", [], "results: the file holds no predictions. 1 of 1 examples without .*: 5"),
        ("vqav2", "", "results: the file holds no predictions. 1 of 1 examples without .*: 5"),
        (
            "vqav2",
            [{"question_id": 6, "answer": "a"}, {"question_id": 6, "answer": "b"}],
            "results: 1 of 1 examples without a prediction: 5. 1 predictions for unknown examples: "
            "6. 1 examples predicted more than once: 6",
        ),
        (
            "vqav2",
            [{"question_id": number, "answer": "a"} for number in range(5, 18)],
            "12 predictions for unknown examples: 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, and 2 more",
        ),
        ("gqa", [{"questionId": 5, "prediction": "dog"}], "'questionId' should be text, found 5"),
        ("gqa", [{"questionId": "5", "prediction": "dog"}], "without .*: 05. .*unknown .*: 5"),
        (
            "gqa",
            [{"questionId": each, "prediction": "dog"} for each in ("05", "6")],
            "unknown examples: 6. Predictions for unbalanced questions need --questions",
        ),
        ("nlvr2", "dev-1-0-0,True", "results: 1 of 2 examples without a prediction: dev-1-1-0"),
        ("nlvr2", f"{PAIRS}dev-1-1-0,True", "1 examples predicted more than once: dev-1-1-0"),
        ("nlvr2", f"{PAIRS}dev-2-1-0,True", "1 predictions for unknown examples: dev-2-1-0"),
        ("nlvr2", "dev-1-0-0,True\ndev-1-1-0", "line 2 should be identifier,prediction, found"),
        (
            "nlvr2",
            "dev-1-0-0,1\ndev-1-1-0,yes",
            r"2 records .*line 1 \(dev-1-0-0\): the prediction",
        ),
        (
            "nlvr",
            f"{PAIRS}dev-1-2-0,",
            "line 3 .*: the prediction should be true or false, found ''",
        ),
        ("nlvr2", "identifier,prediction\n" + PAIRS, "true or false, found 'prediction'"),
        ("vqav2", [{"question_id": 5, "answer": " "}], "results: all 1 predictions are empty"),
        ("vqav2", '[{"question_id": 5, "answer": NaN}]', "'answer' should be text, found NaN"),
        ("gqa", [{"questionId": "05", "prediction": ["dog"]}], "'prediction' should be text"),
        ("nlvr2", " \n", "results: the file holds no predictions"),
        ("tvqa", {"7": 2}, "1 of 2 examples without a prediction: 8"),
        ("tvqa", {"7": 2, "8": 0, "9": 1}, "1 predictions for unknown examples: 9"),
        ("tvqa", {"7": 2, "8": "0"}, r"question \(8\): the index should be a whole number"),
        ("tvqa", {"7": 2, "8": 0.0}, r"question \(8\): the index should be a whole number"),
        ("tvqa", {"7": 5, "8": -1}, r"2 records .*\(7\): the index should be 0 to 4, found 5; "),
        ("how2qa", {"7": 4, "8": 0}, r"question \(7\): the index should be 0 to 3, found 4"),
        ("tvqa", {"7": None, "8": 0}, r"\(7\): the index should be a whole number, found null"),
        ("tvqa", '{"7": 2, "8": 0, "7": 1}', "1 examples predicted more than once: 7"),
        ("how2qa", [["7", 2], ["8", 0]], "results: the file should be an object of question id"),
        ("how2qa", {}, "the file holds no predictions. 2 of 2 examples without a prediction: 7, 8"),
        ("coco", [], "the file holds no predictions. 1 of 1 examples without a prediction: 5"),
        ("coco", [{"image_id": 5, "caption": "a"}] * 2, "examples predicted more than once: 5"),
        ("coco", [{"image_id": 5, "caption": None}], r"record 1 \(5\): 'caption' should be text"),
        ("coco", [{"image_id": 7, "caption": "a"}], "1 predictions for unknown examples: 7"),
        ("tvc", '{"clip_id": 3}', r"line 1 \(3\): 'descs' is missing"),
        ("tvc", '{"clip_id": 3, "descs": []}', r"line 1 \(3\): 'descs' is empty"),
        ("tvc", '{"clip_id": 3, "descs": ["a"]}', "'descs' should be an object, found"),
        ("tvc", '{"clip_id": 3, "descs": [{"desc": 1}]}', "'desc' should be text, found 1"),
        ("tvc", '{"clip_id": "3", "descs": []}', "line 1: 'clip_id' should be a whole number"),
        ("tvc", '\n{"clip_id":', "line 2: not JSON"),
        ("yc2c", f"{CLIPS}{CLIPS}", "1 examples predicted more than once: 3"),
    ],
)
def test_faulty_predictions_are_told_in_one_message_with_the_ids(
    no_java: None, write: Write, task: str, predictions: object, message: str
) -> None:
    annotations = {**RIGHT, **CAPTIONS}[task][0]
    with pytest.raises(UsageError, match=message) as error:
        score(task, write("results", predictions), write("gold", annotations))
    assert error.value.exit_code == 2
    assert str(error.value).count("results") == 1


@pytest.mark.parametrize(
    ("task", "annotations", "message"),
    [
        ("vqav2", [], "gold: the file should be an object, found"),
        ("vqav2", {"questions": []}, "gold: 'annotations' is missing"),
        ("vqav2", {"annotations": []}, "gold: there is nothing to score"),
        ("vqav2", {"annotations": VQA["annotations"] * 2}, "gold: 1 ids occur more than once: 5"),
        (
            "vqav2",
            {"annotations": [{"question_id": 5, "answers": []}]},
            r"gold: record 1 \(question 5\): there are no answers",
        ),
        (
            "vqav2",
            {"annotations": [{"question_id": 5, "answers": [{"answer": None}]}]},
            r"gold: record 1 \(question 5\): answers: record 1: 'answer' should be text",
        ),
        ("gqa", {"05": {"question": "Which?"}}, "gold: question 05: 'answer' is missing"),
        ("gqa", [{"question_id": "05", "label": {}}], "gold: record 1: there is no label"),
        ("gqa", {}, "gold: there is nothing to score"),
        ("nlvr2", '{"label": "True"}', "gold: line 1: 'identifier' is missing"),
        ("nlvr2", '{"identifier": "dev-1-1-0"}', "gold: line 1: 'label' is missing"),
        ("nlvr2", '\n{"label":', "gold: line 2: not JSON"),
        ("nlvr2", f"{NLVR2}\n{NLVR2}", "gold: 2 ids occur more than once: dev-1-0-0, dev-1-1-0"),
        ("nlvr2", "", "gold: there is nothing to score"),
        ("tvqa", '{"qid": 7}', "gold: line 1: 'answer_idx' is missing"),
        ("tvqa", '{"qid": 7, "answer_idx": 5}', "line 1 .question 7.: the answer should be 0 to 4"),
        ("tvqa", '{"qid": null, "answer_idx": 1}', "line 1: 'qid' should be a whole number"),
        ("nlvr2", '{"identifier": "dev-1-1-0", "label": "yes"}', "'label' should be true or false"),
        ("tvqa", '{"answer_idx": 7}', "gold: line 1: 'qid' is missing"),
        ("tvqa", {"solution": {"House": {"7": "2"}}}, "gold: House: '7' should be a whole number"),
        ("tvqa", {"solution": {"House": {"7": 1}, "Friends": {"7": 1}}}, "more than once: 7"),
        ("coco", {**COCO, "images": [{"id": 5}, {"id": 6}]}, "gold: image 6 has no captions"),
        ("tvc", '{"clip_id": 3, "descs": []}', "gold: line 1: 'descs' is empty"),
        ("tvc", CLIPS + CLIPS, "gold: 1 ids occur more than once: 3"),
    ],
)
def test_faulty_annotations_are_told_with_file_and_record(
    no_java: None, write: Write, task: str, annotations: object, message: str
) -> None:
    predictions = {**RIGHT, **CAPTIONS}[task][1]
    with pytest.raises(DataError, match=message) as error:
        score(task, write("results", predictions), write("gold", annotations))
    assert error.value.exit_code == 3


@pytest.mark.parametrize("task", ["nlvr2", "nlvr"])
@pytest.mark.parametrize(
    "text",
    [
        "dev-1-0-0,\"True\"\ndev-1-1-0,'true'\n",
        "\ufeffdev-1-0-0, True\r\ndev-1-1-0 ,TRUE \r\n",
        '"dev-1-0-0","true"\r"dev-1-1-0", "True"',
    ],
)
def test_a_verdict_is_read_with_quotes_spaces_and_in_any_case(
    write: Write, task: str, text: str
) -> None:
    assert score(task, write("results", text), write("gold", NLVR2)).metrics["accuracy"] == 100


def test_packed_files_are_read_or_named(write: Write, tmp_path: Path) -> None:
    gold, results = write("gold", VQA), write("results", RIGHT["vqav2"][1])
    packed = [tmp_path / f"{path.name}.json.gz" for path in (results, gold)]
    for path, target in zip((results, gold), packed, strict=True):
        target.write_bytes(gzip.compress(path.read_bytes()))
    assert score("vqav2", *packed).metrics == {"accuracy": 100}
    with zipfile.ZipFile(tmp_path / "gold.zip", "w") as archive:
        archive.write(gold)
    with pytest.raises(DataError, match=r"gold\.zip: is a ZIP archive: unpack it"):
        score("vqav2", results, tmp_path / "gold.zip")
    with pytest.raises(UsageError, match=r"gold\.zip: is a ZIP archive"):
        score("vqav2", tmp_path / "gold.zip", gold)
    packed[0].write_bytes(packed[0].read_bytes()[:-9])
    with pytest.raises(UsageError, match="damaged gzip data"):
        score("vqav2", *packed)


KARPATHY = {
    "images": [
        {
            "cocoid": number,
            "split": split,
            "filename": f"COCO_val2014_{number:012d}.jpg",
            "sentences": [{"sentid": number, "raw": f"dog {number}"}],
        }
        for number, split in [(5, "test"), (6, "test"), (7, "val"), (8, "restval")]
    ]
}


def test_a_split_of_vqa_is_scored_by_the_karpathy_file(write: Write) -> None:
    [annotation] = VQA["annotations"]
    annotations = [
        {**annotation, "question_id": image * 10, "image_id": image} for image in (5, 6, 7, 9)
    ]
    gold, karpathy = write("gold", {"annotations": annotations}), write("karpathy", KARPATHY)
    results = write("results", [{"question_id": each, "answer": "dog"} for each in (50, 60)])
    assert score("vqav2", results, gold, karpathy=karpathy).n == 2
    with pytest.raises(UsageError, match=r"without a prediction: 70\. 2 predictions for unknown"):
        score("vqav2", results, gold, karpathy=karpathy, split="val")
    with pytest.raises(DataError, match=r"gold: about no image of the split 'train' of .*karpathy"):
        score("vqav2", results, gold, karpathy=karpathy, split="train")
    with pytest.raises(UsageError, match="--split tset: Did you mean 'test'"):
        score("vqav2", results, gold, karpathy=karpathy, split="tset")
    with pytest.raises(UsageError, match="--split test: needs --karpathy"):
        score("vqav2", results, gold, split="test")
    with pytest.raises(DataError, match=r"karpathy: 'annotations' is missing; .* see --karpathy"):
        score("vqav2", results, karpathy, split="test")
    with pytest.raises(UsageError, match="--split is for vqav2 and coco; gqa has none"):
        score("gqa", results, gold, split="test")
    with pytest.raises(MissingError, match="absent: No such file"):
        score("vqav2", results, gold, karpathy=gold.with_name("absent"))
    del annotations[0]["image_id"]
    with pytest.raises(DataError, match="question 50: 'image_id' is missing"):
        score("vqav2", results, write("gold", {"annotations": annotations}), karpathy=karpathy)


def test_a_split_of_coco_is_scored_by_the_karpathy_file(write: Write, without_meteor: None) -> None:
    official = {"annotations": [{"image_id": n, "caption": f"dog {n}"} for n in (5, 6, 7, 9)]}
    karpathy = write("karpathy", KARPATHY)
    results = write("results", [{"image_id": n, "caption": f"Dog {n}"} for n in (5, 6)])
    alone = score("coco", results, karpathy, split="test")
    assert (alone.n, alone.metrics["rouge_l"]) == (2, pytest.approx(100))
    both = score("coco", results, write("gold", official), karpathy=karpathy)
    assert both.metrics == alone.metrics
    with pytest.raises(DataError, match=r"karpathy: 'annotations' is missing; .* see --split"):
        score("coco", results, karpathy)


def test_the_cider_of_one_image_is_null_with_a_reason(write: Write, without_meteor: None) -> None:
    found = score("coco", write("results", CAPTIONS["coco"][1]), write("gold", COCO))
    assert found.metrics["cider"] is None
    assert "needs two images or more" in found.notes["cider"] and "0.00" in found.notes["cider"]
    assert found.metrics["bleu_1"] == pytest.approx(100) and found.n == 1
    assert "cider" not in found.scores


def test_the_consistency_of_gqa_is_null_where_nothing_is_entailed(write: Write) -> None:
    entailing = {"05": {**GQA["05"], "entailed": ["6"]}, "6": GQA["05"]}
    wrong = write("wrong", [{"questionId": each, "prediction": "cat"} for each in entailing])
    for gold, results, reason in (
        (GQA, write("right", RIGHT["gqa"][1]), "no question entails another"),
        (entailing, wrong, "no answer that entails others is right"),
    ):
        found = score("gqa", results, write("gold", gold))
        assert found.metrics["consistency"] is None
        assert found.notes["consistency"].startswith(reason)


def test_missing_and_unreadable_files_are_named(write: Write, tmp_path: Path) -> None:
    gold = write("gold", VQA)
    with pytest.raises(MissingError, match="absent: No such file"):
        score("vqav2", tmp_path / "absent", gold)
    with pytest.raises(MissingError, match="directory"):
        score("vqav2", tmp_path, gold)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="binary: not UTF-8"):
        score("vqav2", tmp_path / "binary", gold)
    with pytest.raises(DataError, match="binary: not UTF-8"):
        score("vqav2", gold, tmp_path / "binary")


def test_unknown_words_are_usage_errors(write: Write) -> None:
    gold, results = write("gold", VQA), write("results", RIGHT["vqav2"][1])
    with pytest.raises(UsageError, match=r"Unknown task 'vqav'\. Did you mean 'vqav2'"):
        score("vqav", results, gold)
    with pytest.raises(
        UsageError, match=r"no variant 'official_2021'\. Did you mean 'official-2021'"
    ):
        score("vqav2", results, gold, variant="official_2021")
    with pytest.raises(UsageError, match=r"no variant 'official-2021'\. Known: all, balanced"):
        score("nlvr2", results, gold, variant="official-2021")
    with pytest.raises(UsageError, match="--variant is for vqav2 and nlvr2; gqa has one"):
        score("gqa", results, gold, variant="balanced")
    with pytest.raises(UsageError, match="--choices is for gqa; vqav2 has none"):
        score("vqav2", results, gold, choices=gold)
    with pytest.raises(UsageError, match="--questions is for vqav2 and gqa; coco has none"):
        score("coco", results, gold, questions=gold)


def test_the_questions_of_vqa_must_be_those_of_the_annotations(write: Write) -> None:
    gold, results = write("gold", VQA), write("results", RIGHT["vqav2"][1])
    same = write("same", {"questions": [{"question_id": 5, "question": "What?"}]})
    assert score("vqav2", results, gold, questions=same).metrics == {"accuracy": 100}
    other = write("other", {"questions": [{"question_id": 6}]})
    with pytest.raises(DataError, match=r"other: not the questions of .*gold: 2 ids .*: 5, 6"):
        score("vqav2", results, gold, questions=other)


def test_the_variant_says_how_vqa_answers_are_normalised(write: Write) -> None:
    answers = [{"answer": "two", "answer_id": number} for number in range(10)]
    gold = write("gold", {"annotations": [{"question_id": 5, "answers": answers}]})
    results = write("results", [{"question_id": 5, "answer": "two"}])
    assert score("vqav2", results, gold).metrics == {"accuracy": 0}
    assert score_files("vqav2", Files(results, gold))[1] == "official-2016"
    assert score("vqav2", results, gold, variant="official-2021").metrics == {"accuracy": 100}


def test_the_balanced_part_of_nlvr2_ignores_other_predictions(write: Write) -> None:
    gold, results = write("gold", NLVR2.splitlines()[0]), write("results", PAIRS)
    found = score("nlvr2", results, gold, variant="balanced")
    assert (found.metrics, found.n) == ({"accuracy": 100, "consistency": 100}, 1)
    with pytest.raises(UsageError, match="1 predictions for unknown examples: dev-1-1-0"):
        score("nlvr2", results, gold, variant="all")


def test_gqa_may_answer_questions_that_are_not_balanced(write: Write) -> None:
    every = {**GQA, "6": {**GQA["05"], "isBalanced": False}}
    results = write("results", [{"questionId": each, "prediction": "dog"} for each in every])
    assert score("gqa", results, write("all", every)).n == 1
    balanced = write("balanced", GQA)
    assert score("gqa", results, balanced, questions=write("all", every)).n == 1


def test_the_authors_files_of_gqa_and_nlvr2_are_read(write: Write) -> None:
    questions = write("gqa", [{"question_id": "05", "label": {"cat": 0.3, "dog": 1.0}}])
    results = write("answers", RIGHT["gqa"][1])
    assert score("gqa", results, questions).metrics["accuracy"] == 100
    labels = [{"identifier": f"dev-1-{pair}-0", "label": 1} for pair in range(2)]
    found = score("nlvr2", write("pairs", PAIRS), write("nlvr2", labels))
    assert found.metrics == {"accuracy": 100, "consistency": 100}


def test_the_solution_file_of_tvqa_tells_the_answers_by_show(write: Write) -> None:
    gold = write(
        "gold", {"split": "tvqa_val", "solution": {"House": {"7": 2}, "Friends": {"8": 1}}}
    )
    found = score("tvqa", write("results", {"7": 2, "8": 0}), gold)
    assert found.scores == {"accuracy": {"7": 100, "8": 0}}


def test_gqa_says_why_a_metric_is_not_there(write: Write) -> None:
    found = score("gqa", write("results", RIGHT["gqa"][1]), write("gold", GQA))
    assert found.metrics["validity"] is None
    assert found.notes["validity"] == "needs --choices"
    assert set(found.notes) == {name for name, value in found.metrics.items() if value is None}


def test_the_json_object_has_schema_variant_metrics_and_groups(write: Write) -> None:
    found, variant = score_files(
        "vqav2", Files(write("results", RIGHT["vqav2"][1]), write("gold", VQA))
    )
    assert json.loads(json.dumps(found.as_json("vqav2", variant, None))) == {
        "schema": "vlbench.score/1",
        "task": "vqav2",
        "variant": "official-2016",
        "metrics": {"accuracy": 100.0},
        "notes": {},
        "n": 1,
        "groups": {"answer_type": {"other": {"accuracy": 100.0, "n": 1}}, "question_type": {}},
        "per_example": None,
    }


GQA_ALL = {
    "accuracy": 55.55555555555556,
    "binary": 56.81818181818182,
    "open": 52.63157894736842,
    "validity": 84.12698412698413,
    "plausibility": 77.77777777777779,
    "consistency": 29.629629629629626,
    "distribution": 0.01015625,
}
GOLDEN: list[tuple[str, str, str, dict[str, str], dict[str, float]]] = [
    (
        "vqav2",
        "vqa/v2_OpenEnded_mscoco_golden_results.json",
        "vqa/v2_mscoco_golden_annotations.json",
        {"questions": "vqa/v2_OpenEnded_mscoco_golden_questions.json"},
        {"accuracy": 86.62921348314607},
    ),
    (
        "vqav2",
        "vqa/v2_OpenEnded_mscoco_golden_results.json",
        "vqa/v2_mscoco_golden_annotations.json",
        {"variant": "official-2021"},
        {"accuracy": 92.19101123595506},
    ),
    (
        "gqa",
        "gqa/golden_predictions.json",
        "gqa/golden_questions.json",
        {"choices": "gqa/golden_choices.json"},
        GQA_ALL,
    ),
    (
        "gqa",
        "gqa/golden_predictions.json",
        "gqa/golden_balanced_questions.json",
        {"choices": "gqa/golden_choices.json", "questions": "gqa/golden_questions.json"},
        GQA_ALL,
    ),
    (
        "gqa",
        "gqa/golden_balanced_predictions.json",
        "gqa/golden_lxmert_testdev.json",
        {},
        {"accuracy": 55.55555555555556},
    ),
    (
        "nlvr2",
        "nlvr2/predictions.csv",
        "nlvr2/dev.json",
        {},
        {"accuracy": 69.56521739130435, "consistency": 33.33333333333333},
    ),
    (
        "nlvr2",
        "nlvr2/predictions.csv",
        "nlvr2/balanced_dev.json",
        {"variant": "balanced"},
        {"accuracy": 70.96774193548387},
    ),
    (
        "tvqa",
        "value/tvqa/tvqa_val_predictions.json",
        "value/tvqa/tvqa_val_solution.json",
        {},
        {"accuracy": 60.0},
    ),
    (
        "tvqa",
        "value/tvqa/tvqa_val_predictions.json",
        "value/tvqa/tvqa_val.jsonl",
        {},
        {"accuracy": 60.0},
    ),
    (
        "how2qa",
        "value/how2qa/how2qa_val_predictions.json",
        "value/how2qa/how2qa_val_release.jsonl",
        {},
        {"accuracy": 80.0},
    ),
]


@pytest.mark.parametrize(("task", "predictions", "annotations", "more", "expected"), GOLDEN)
def test_golden_files_score_as_officially(
    shared_folder: Path,
    task: str,
    predictions: str,
    annotations: str,
    more: dict[str, str],
    expected: dict[str, float],
) -> None:
    folder = shared_folder / "golden" / "metrics"
    options = {name: text if name == "variant" else folder / text for name, text in more.items()}
    found = score(task, folder / predictions, folder / annotations, **options)
    metrics = {name: found.metrics[name] for name in expected}
    assert metrics == pytest.approx(expected, abs=1e-9)


def test_the_golden_file_with_a_missing_prediction_is_refused(shared_folder: Path) -> None:
    folder = shared_folder / "golden" / "metrics" / "nlvr2"
    with pytest.raises(UsageError, match="1 of 46 examples without a prediction: dev-128-2-1"):
        score("nlvr2", folder / "predictions_missing_one.csv", folder / "dev.json")


def test_golden_captions_of_coco_score_as_officially(
    shared_folder: Path, without_meteor: None
) -> None:
    folder = shared_folder / "golden" / "metrics" / "coco_caption"
    name = "setB_edge"
    found = score("coco", folder / f"{name}_results.json", folder / f"{name}_annotations.json")
    expected = json.loads((folder / f"{name}_expected.json").read_text())
    for official, value in expected["overall"].items():
        if official != "METEOR":
            assert found.metrics[official.lower()] == pytest.approx(100 * value, abs=1e-7)
            rows = {each: 100 * row[official] for each, row in expected["per_image"].items()}
            assert found.scores[official.lower()] == pytest.approx(rows, abs=1e-7)
    assert found.metrics["spice"] is None
    assert found.notes["spice"].startswith("not available")


def test_golden_captions_of_value_score_as_officially(
    shared_folder: Path, without_meteor: None
) -> None:
    folder = shared_folder / "golden" / "metrics" / "value" / "yc2c"
    found = score("yc2c", folder / "yc2c_val_predictions.jsonl", folder / "yc2c_val_release.jsonl")
    expected = json.loads((folder / "expected.json").read_text())
    assert found.metrics["cider"] == pytest.approx(100 * expected["cider_full_precision"], abs=1e-7)
    for official, value in expected["official_value"].items():
        if official != "METEOR":
            assert round(found.metrics[official.lower()] or 0, 2) == value
    assert found.n == 70


def test_value_captions_are_scored_in_ascii(
    no_java: None, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def evaluate(references: Any, candidates: Any) -> Any:
        asked.extend([references, candidates])
        raise StopIteration

    monkeypatch.setattr("vlbench.metrics.captions.evaluate", evaluate)
    gold = '{"clip_id": 3, "descs": [{"desc": "caf\u00e9 \u2028x"}, {"desc": "\U0001f436!"}]}'
    results = '{"clip_id": 3, "descs": [{"desc": "\u00e9t\u00e9"}]}'
    with pytest.raises(StopIteration):
        score("tvc", write("results", results), write("gold", gold))
    assert asked == [{"3": ["caf   x", " !"]}, {"3": " t "}]


SCORES = {"cider": {"07": 12.5, "8": 0.1 + 0.2}, "bleu_1": {"8": 1.0, "07": 0.0}}
ROWS = [
    {"id": "07", "cider": 12.5, "bleu_1": 0.0},
    {"id": "8", "cider": 0.30000000000000004, "bleu_1": 1.0},
]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_lines_hold_an_example_each(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"scores{suffix}"
    write_per_example(path, SCORES)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


def test_parquet_holds_a_row_per_example(tmp_path: Path) -> None:
    write_per_example(tmp_path / "scores.parquet", SCORES)
    assert parquet.read_table(tmp_path / "scores.parquet").to_pylist() == ROWS


def test_a_name_that_tells_no_format_is_refused() -> None:
    with pytest.raises(UsageError, match=r"scores\.csv: cannot tell the format\. JSON Lines"):
        check_per_example(Path("scores.csv"), Files(Path("a"), Path("b")))


def test_a_file_that_is_read_is_never_overwritten(tmp_path: Path) -> None:
    read = tmp_path / "results.json"
    with pytest.raises(UsageError, match="would be overwritten"):
        check_per_example(
            tmp_path / "." / "results.json", Files(Path("a"), Path("b"), karpathy=read)
        )
    check_per_example(tmp_path / "scores.json", Files(read, Path("b")))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--per-example .*Cannot be written: .*file is a file"):
        write_per_example(tmp_path / "file" / "scores.json", SCORES)
