"""Official files of every task, right, faulty, and those that the official scorers were run on."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.spoilt import spoilt
from vlbench.errors import DataError, UsageError, VlbenchError
from vlbench.metrics import Scored, captions, java
from vlbench.metrics.official import TASKS
from vlbench.metrics.official import score_files as score

Write = Callable[[str, object], Path]
ANSWERS = [{"answer": "dog", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
VQA = {"annotations": [{"question_id": 5, "image_id": 5, "answers": ANSWERS, "answer_type": "x"}]}
QUESTION = {
    **{"question": "Which one?", "answer": "dog", "imageId": "n1", "isBalanced": True},
    **{"types": {"structural": "query", "detailed": "x"}, "groups": {"global": "g", "local": "l"}},
    "semantic": [{"operation": "select", "argument": "lamp (0)", "dependencies": []}],
}
GQA = {"05": QUESTION}
PAIR = {"sentence": "A dog.", "label": "True"}


def lines(*records: object) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


NLVR2 = lines({"identifier": "dev-1-0-0", **PAIR}, {"identifier": "dev-1-1-0", **PAIR})
COCO = {
    "images": [{"id": n, "file_name": f"{n}.jpg"} for n in (5, 6)],
    "annotations": [{"image_id": n, "id": n, "caption": "A dog."} for n in (5, 6)],
}
CHOICES = {f"a{n}": f"dog {n}" for n in range(5)}
ASKED = {"q": "What?", "ts": "1-2", "vid_name": "x_1", "show_name": "House", **CHOICES}
CLIP = {"vid_name": "x_1", "ts": [1.5, 2], "clip_id": 3}
DESCS = [{"desc": text, "desc_id": n} for n, text in enumerate(("a dog", "one dog"))]
CLIPS = lines({**CLIP, "descs": DESCS}, {**CLIP, "clip_id": 4, "descs": DESCS})
QUESTIONS = lines({**ASKED, "qid": 7, "answer_idx": 2}, {**ASKED, "qid": 8, "answer_idx": 0})
PAIRS = "dev-1-0-0,true\r\ndev-1-1-0,True\n"
RIGHT: dict[str, tuple[Any, Any]] = {
    "vqav2": (VQA, [{"question_id": 5, "answer": "dog"}]),
    "gqa": (GQA, [{"questionId": "05", "prediction": "dog"}]),
    "nlvr2": (NLVR2, PAIRS),
    "nlvr": (NLVR2, PAIRS),
    "tvqa": (QUESTIONS, {"7": 2, "8": 0}),
    "how2qa": (QUESTIONS, {"8": 0, "7": 2}),
    "coco": (COCO, [{"image_id": n, "caption": "a dog"} for n in (5, 6)]),
    "tvc": (CLIPS, lines(*({"clip_id": n, "descs": DESCS} for n in (3, 4)))),
    "yc2c": (CLIPS, lines(*({"clip_id": n, "descs": DESCS[:1]} for n in (3, 4)))),
}


class Fake(java.Meteor):
    """Takes no time to start, and gives nothing."""

    process: Any = None

    def score(self, references: Any, candidates: Any) -> tuple[float, list[float]]:
        return 0.0, [0.0 for _ in candidates]


@pytest.fixture(autouse=True)
def without_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What METEOR gives has a test of its own: it takes long to start."""
    monkeypatch.setattr(java, "Meteor", Fake)


def accuracy(*files: Any, **more: Any) -> float:
    metrics: dict[str, float] = score(*files, **more)["metrics"]
    return metrics["accuracy"]


@pytest.mark.usefixtures("needs_java")
@pytest.mark.parametrize("task", TASKS)
def test_official_files_of_every_task_are_scored(write: Write, task: str) -> None:
    annotations, predictions = RIGHT[task]
    document = score(task, write("results", predictions), write("gold", annotations))
    scores = document["per_example"]
    metric = "accuracy" if "accuracy" in scores else "bleu_1"
    assert document["metrics"][metric] == pytest.approx(100)
    assert [*scores[metric].values()] == pytest.approx([100] * document["n"])
    assert set(document["notes"]) == {n for n, v in document["metrics"].items() if v is None}


@pytest.mark.parametrize(
    ("task", "predictions", "message"),
    [
        ("vqav2", "[{", "results: not valid JSON: .*line 1 column 3"),
        (
            "vqav2",
            [{"question_id": 5, "answer": 2}, {"question_id": "5", "answer": None}],
            "results: prediction 5: 'answer' should be a string, found 2\n"
            ".*results: prediction 5: 'question_id' should be a whole number, found \"5\"$",
        ),
        (
            "vqav2",
            [{"question_id": 6, "answer": "a"}, {"question_id": 6, "answer": "b"}],
            "results: 1 examples without a prediction: 5. 1 predictions for unknown examples: "
            "6. 1 examples predicted more than once: 6",
        ),
        ("vqav2", [{"question_id": 5, "answer": " "}], "results: no prediction holds any text"),
        ("gqa", [{"questionId": "5", "prediction": "dog"}], "without .*: 05. .*unknown .*: 5"),
        ("nlvr2", "dev-1-0-0,1\ndev-1-1-0,yes\nx", "1: should be identifier,true.*\n.*2.*\n.*3"),
        ("tvqa", {"7": 5, "8": "0"}, "'7' should be 0 to 4, found 5\n.*'8' should be a whole"),
        ("how2qa", {"7": 4, "8": 0}, "'7' should be 0 to 3, found 4"),
        ("tvqa", '{"7": 2, "8": 0, "7": 1}', "results: 7 is there twice"),
        ("tvc", '{"clip_id": 3, "descs": []}', "line 1: no descriptions"),
        ("yc2c", f"{CLIPS}{CLIPS}", "2 examples predicted more than once: 3, 4"),
    ],
)
def test_faulty_predictions_are_named_in_one_message_with_the_ids(
    write: Write, task: str, predictions: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        score(task, write("results", predictions), write("gold", RIGHT[task][0]))
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("task", "annotations", "message"),
    [
        ("vqav2", {"annotations": []}, "gold: there is nothing to score"),
        ("vqav2", {"annotations": VQA["annotations"] * 2}, "gold: question 5: is there twice"),
        ("gqa", '{"05": 3, "05": 4}', "gold: 05 is there twice"),
        ("nlvr2", '\n{"label":', "gold: line 2: not valid JSON"),
        ("nlvr2", f"{NLVR2}\n{NLVR2}", "gold: line 4: dev-1-0-0 is there twice"),
        ("tvqa", lines({**ASKED, "qid": 7}), "gold: line 1: 'answer_idx' is missing"),
        ("tvqa", {"solution": {"House": {"7": "2"}}}, "gold: House: '7' should be a whole number"),
        ("coco", {**COCO, "annotations": [{"id": 7}]}, "gold: caption 7: 'caption' is missing"),
    ],
)
def test_faulty_annotations_are_named_with_file_and_record(
    write: Write, task: str, annotations: object, message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        score(task, write("results", RIGHT[task][1]), write("gold", annotations))
    assert error.value.exit_code == 3


@pytest.mark.parametrize("task", ["vqav2", "gqa", "coco", "tvqa", "tvc"])
def test_a_field_that_is_missing_or_of_another_type_is_named(
    write: Write, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    scored = Scored({"cider": 0.0}, {"5": 0.0})
    monkeypatch.setattr(captions, "evaluate", lambda *_: scored)
    files = {"gold": RIGHT[task][0], "results": RIGHT[task][1]}
    if task == "gqa":
        files["choices"] = {"05": {"valid": ["dog"], "plausible": ["dog"]}}
    paths = {name: write(name, value) for name, value in files.items()}
    refused = 0
    for name in files.keys() - {"gold"}:  # the readers have tests of their own
        is_lines = isinstance(files[name], str)
        value = list(map(json.loads, files[name].splitlines())) if is_lines else files[name]
        for field, is_gone, copy in spoilt(value):
            write(name, lines(*copy) if is_lines else copy)
            try:
                score(task, paths["results"], paths["gold"], choices=paths.get("choices"))
            except VlbenchError as error:
                refused += 1
                if is_gone and not field.isdigit():  # a question that is gone is no missing field
                    assert str(paths[name]) in str(error)
                    assert f"'{field}' is missing" in str(error), copy
            except Exception as error:
                raise AssertionError((name, field, copy)) from error
        write(name, files[name])
    assert refused


def test_a_verdict_is_read_with_quotes_spaces_and_in_any_case(write: Write) -> None:
    for text in (
        "dev-1-0-0,\"True\"\ndev-1-1-0,'true'\n",
        "\ufeffdev-1-0-0, True\r\ndev-1-1-0 ,TRUE \r\n",
        '"dev-1-0-0","true"\n\n"dev-1-1-0", "True"',
    ):
        for task in ("nlvr2", "nlvr"):
            assert accuracy(task, write("results", text), write("gold", NLVR2)) == 100


def test_packed_and_unreadable_files_are_read_or_named(write: Write, tmp_path: Path) -> None:
    gold, results = write("gold", VQA), write("results", RIGHT["vqav2"][1])
    packed = [tmp_path / f"{path.name}.json.gz" for path in (results, gold)]
    for path, target in zip((results, gold), packed, strict=True):
        target.write_bytes(gzip.compress(path.read_bytes()))
    assert accuracy("vqav2", *packed) == 100
    with zipfile.ZipFile(tmp_path / "gold.zip", "w") as archive:
        archive.write(gold)
    with pytest.raises(DataError, match=r"gold\.zip: is packed .ZIP.: unpack it"):
        score("vqav2", results, tmp_path / "gold.zip")
    with pytest.raises(UsageError, match=r"gold\.zip: is packed .ZIP.: unpack it"):
        score("vqav2", tmp_path / "gold.zip", gold)
    packed[0].write_bytes(packed[0].read_bytes()[:-9])
    with pytest.raises(UsageError, match="damaged gzip data"):
        score("vqav2", *packed)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="binary: not valid JSON: 'utf-8'"):
        score("vqav2", tmp_path / "binary", gold)
    with pytest.raises(UsageError, match=r"binary: line 1: should be identifier,true"):
        score("nlvr2", tmp_path / "binary", write("gold", NLVR2))


def image(number: int, split: str) -> dict[str, Any]:
    sentences = [{"sentid": number, "raw": f"dog {number}"}]
    name = f"COCO_val2014_{number:012d}.jpg"
    return {"cocoid": number, "split": split, "filename": name, "sentences": sentences}


IMAGES = [(5, "test"), (6, "test"), (7, "val"), (8, "restval")]
KARPATHY = {"images": [image(number, split) for number, split in IMAGES]}


def test_a_split_of_vqa_is_scored_by_the_karpathy_file(write: Write) -> None:
    [annotation] = VQA["annotations"]
    annotations = [{**annotation, "question_id": n * 10, "image_id": n} for n in (5, 6, 7, 9)]
    gold, karpathy = write("gold", {"annotations": annotations}), write("karpathy", KARPATHY)
    results = write("results", [{"question_id": n, "answer": "dog"} for n in (50, 60)])
    assert score("vqav2", results, gold, karpathy=karpathy)["n"] == 2
    with pytest.raises(UsageError, match=r"without a prediction: 70\. 2 predictions for unknown"):
        score("vqav2", results, gold, karpathy=karpathy, split="val")
    with pytest.raises(DataError, match=r"gold: about no image of the split 'train' of .*karpathy"):
        score("vqav2", results, gold, karpathy=karpathy, split="train")
    with pytest.raises(UsageError, match="--split test: needs --karpathy"):
        score("vqav2", results, gold, split="test")
    with pytest.raises(DataError, match="karpathy: 'annotations' is missing"):
        score("vqav2", results, karpathy)
    del annotations[0]["image_id"]
    with pytest.raises(DataError, match="question 50: 'image_id' is missing"):
        score("vqav2", results, write("gold", {"annotations": annotations}), karpathy=karpathy)


@pytest.mark.usefixtures("needs_java")
def test_a_split_of_coco_is_scored_by_the_karpathy_file(write: Write) -> None:
    numbers = (5, 6, 7, 9)
    official = {
        "images": [{"id": n} for n in numbers],  # BLIP's copies have no file names
        "annotations": [{"image_id": n, "id": n, "caption": f"dog {n}"} for n in numbers],
    }
    karpathy = write("karpathy", KARPATHY)
    results = write("results", [{"image_id": n, "caption": f"Dog {n}"} for n in (5, 6)])
    alone = score("coco", results, karpathy, split="test")
    assert (alone["n"], alone["metrics"]["rouge_l"]) == (2, pytest.approx(100))
    both = score("coco", results, write("gold", official), karpathy=karpathy)
    assert both["metrics"] == alone["metrics"]
    with pytest.raises(UsageError, match=r"karpathy: has several splits; choose one with --split"):
        score("coco", results, karpathy)


@pytest.mark.usefixtures("needs_java")
def test_what_cannot_be_computed_is_null_with_a_reason(write: Write) -> None:
    one = {"images": COCO["images"][:1], "annotations": COCO["annotations"][:1]}
    results = write("results", [{"image_id": 5, "caption": "a dog"}])
    document = score("coco", results, write("gold", one))
    assert document["metrics"]["cider"] is None and "cider" not in document["per_example"]
    assert "needs two images or more" in document["notes"]["cider"]
    assert document["metrics"]["bleu_1"] == pytest.approx(100) and document["n"] == 1
    entailing = {"05": {**QUESTION, "entailed": ["6"]}, "6": QUESTION}
    wrong = write("wrong", [{"questionId": name, "prediction": "cat"} for name in entailing])
    for gold, results, reason in (
        (GQA, write("right", RIGHT["gqa"][1]), "no question entails another"),
        (entailing, wrong, "no answer that entails others is right"),
    ):
        document = score("gqa", results, write("gold", gold))
        assert document["metrics"]["consistency"] is None
        assert document["notes"]["consistency"].startswith(reason)
        assert document["notes"]["validity"] == "needs --choices"


def test_the_variant_is_taken(write: Write) -> None:
    answers = [{"answer": "two", "answer_id": number} for number in range(10)]
    annotation = {"question_id": 5, "image_id": 5, "answers": answers}
    gold = write("gold", {"annotations": [annotation]})
    results = write("results", [{"question_id": 5, "answer": "two"}])
    assert score("vqav2", results, gold)["variant"] == "official-2016"
    assert accuracy("vqav2", results, gold) == 0
    assert accuracy("vqav2", results, gold, variant="official-2021") == 100
    gold, results = write("gold", NLVR2.splitlines()[0]), write("results", PAIRS)
    document = score("nlvr2", results, gold, variant="balanced")
    assert (document["metrics"], document["n"]) == ({"accuracy": 100, "consistency": 100}, 1)
    with pytest.raises(UsageError, match="1 predictions for unknown examples: dev-1-1-0"):
        score("nlvr2", results, gold, variant="all")


def test_gqa_may_answer_questions_that_are_not_balanced(write: Write) -> None:
    every = {**GQA, "6": {**QUESTION, "isBalanced": False}}
    results = write("results", [{"questionId": name, "prediction": "dog"} for name in every])
    whole = write("all", every)
    assert score("gqa", results, whole)["n"] == 1
    assert score("gqa", results, write("balanced", GQA), questions=whole)["n"] == 1


def test_the_json_object_has_schema_variant_metrics_and_groups(write: Write) -> None:
    document = score("vqav2", write("results", RIGHT["vqav2"][1]), write("gold", VQA))
    assert json.loads(json.dumps(document)) == {
        "schema": "vlbench.score/1",
        "task": "vqav2",
        "variant": "official-2016",
        "metrics": {"accuracy": 100.0},
        "notes": {},
        "n": 1,
        "groups": {"answer_type": {"x": {"accuracy": 100.0, "n": 1}}, "question_type": {}},
        "per_example": {"accuracy": {"5": 100.0}},
    }


GQA_ALL = [
    *(55.55555555555556, 56.81818181818182, 52.63157894736842, 29.629629629629626),
    *(84.12698412698413, 77.77777777777779, 0.01015625),
]
VQA_FILES = ("v2_OpenEnded_mscoco_golden_results.json", "v2_mscoco_golden_annotations.json")
GQA_FILES = ("golden_predictions.json", "golden_questions.json")
GQA_LISTS = ("golden_balanced_predictions.json", "golden_lxmert_testdev.json")
CHOICES_FILE = {"choices": "golden_choices.json"}
HOW2QA_FILES = ("how2qa_val_predictions.json", "how2qa_val_release.jsonl")
TVQA_ANSWERS = "tvqa_val_predictions.json"
NLVR2_SCORES = [69.56521739130435, 33.33333333333333]
GOLDEN: list[tuple[str, str, str, str, dict[str, str], list[float]]] = [
    ("vqav2", "vqa", *VQA_FILES, {}, [86.62921348314607]),
    ("vqav2", "vqa", *VQA_FILES, {"variant": "official-2021"}, [92.19101123595506]),
    ("gqa", "gqa", *GQA_FILES, CHOICES_FILE, GQA_ALL),
    (
        *("gqa", "gqa", GQA_FILES[0], "golden_balanced_questions.json"),
        {**CHOICES_FILE, "questions": GQA_FILES[1]},
        GQA_ALL,
    ),
    ("gqa", "gqa", *GQA_LISTS, {}, [55.55555555555556]),
    ("nlvr2", "nlvr2", "predictions.csv", "dev.json", {}, NLVR2_SCORES),
    ("nlvr2", "nlvr2", "predictions.csv", "lxmert_valid.json", {}, NLVR2_SCORES),
    (
        *("nlvr2", "nlvr2", "predictions.csv", "balanced_dev.json"),
        {"variant": "balanced"},
        [70.96774193548387],
    ),
    ("tvqa", "value/tvqa", TVQA_ANSWERS, "tvqa_val_solution.json", {}, [60.0]),
    ("tvqa", "value/tvqa", TVQA_ANSWERS, "tvqa_val.jsonl", {}, [60.0]),
    ("how2qa", "value/how2qa", *HOW2QA_FILES, {}, [80.0]),
]


@pytest.mark.parametrize(("task", "part", "results", "gold", "more", "expected"), GOLDEN)
def test_golden_files_score_as_officially(
    shared_folder: Path,
    task: str,
    part: str,
    results: str,
    gold: str,
    more: dict[str, str],
    expected: list[float],
) -> None:
    folder = shared_folder / "golden" / "metrics" / part
    options = {name: text if name == "variant" else folder / text for name, text in more.items()}
    metrics = score(task, folder / results, folder / gold, **options)["metrics"]
    assert [*metrics.values()][: len(expected)] == pytest.approx(expected, abs=1e-9)


def test_the_golden_file_with_a_missing_prediction_is_refused(shared_folder: Path) -> None:
    folder = shared_folder / "golden" / "metrics" / "nlvr2"
    with pytest.raises(UsageError, match="1 examples without a prediction: dev-128-2-1"):
        score("nlvr2", folder / "predictions_missing_one.csv", folder / "dev.json")
