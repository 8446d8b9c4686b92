"""VQAv2 in the Karpathy split, rebuilt from the official question and annotation files.

A question belongs to the split of its image in `dataset_coco.json`. Training targets are the
answers as annotated, with a soft score by the number of annotators; the authors keep the 3,129 most
frequent ones, and so do we where their `trainval_ans2label.json` lies beside the annotations.
The splits `test2015` and `test-dev2015` have no answers: the dataset's server scores them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from sys import intern

from vlbench.data.example import Example, Faults, RecordFault, field
from vlbench.data.readers import base, coco

UNANSWERED = ("test2015", "test-dev2015")
QUESTIONS = "v2_OpenEnded_mscoco_{}_questions.json"
ANSWERS = "v2_mscoco_{}_annotations.json"
FREQUENT = "trainval_ans2label.json"
SOFT_SCORES = {1: 0.3, 2: 0.6, 3: 0.9}
TYPES = ("answer_type", "question_type")  # what scores are grouped by, where it is annotated


class VQAv2(base.Reader):
    """Open questions about COCO images, ten answers each."""

    splits = ("train", "val", "test", *UNANSWERED)
    feature_places = coco.FEATURE_PLACES

    def files(self, split: str) -> list[Path]:
        if split in UNANSWERED:
            return [self._file(QUESTIONS, split)]
        pairs = [self._file(f, part) for part in coco.FOLDERS for f in (QUESTIONS, ANSWERS)]
        return [self.root / coco.KARPATHY, *pairs, *filter(Path.is_file, [self._file(FREQUENT)])]

    def examples(self, split: str, faults: Faults) -> base.Examples:
        if split not in UNANSWERED:
            yield from self._karpathy_examples(split, faults)
            return
        for _, record in _records(self._file(QUESTIONS, split), "questions", faults):
            images = (f"COCO_test2015_{record['image_id']:012d}",)
            yield Example(str(record["question_id"]), record["question"], images, {}, record)

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        return (
            (str(record["question_id"]), record)
            for _, record in _records(path, "annotations", faults)
        )

    def image_path(self, image_id: str) -> Path:
        return coco.coco_image(self.root, image_id)

    def _file(self, name: str, part: str = "") -> Path:
        return self.root / "vqa" / name.format(part)

    def _karpathy_examples(self, split: str, faults: Faults) -> base.Examples:
        karpathy = coco.read_karpathy(self.root / coco.KARPATHY, faults)
        pictures = {picture.cocoid: picture for picture in karpathy}
        faults.refuse()  # else every question about a faulty image would be listed too
        frequent = None
        if self._file(FREQUENT).is_file():
            frequent = {answer for answer, _ in base.read_table(self._file(FREQUENT), "answer")}
        names = (picture.id for picture in pictures.values() if picture.split == split)
        for part in sorted({coco.folder_of(name) for name in names} & {*coco.FOLDERS}):
            for question, record in self._pairs(part, faults):
                number, picture = question["question_id"], pictures.get(question["image_id"])
                if picture is None:
                    missing = f"no image {question['image_id']} in {coco.KARPATHY}"
                    faults.add(self._file(QUESTIONS, part), f"question {number}", missing)
                elif picture.split == split:
                    images, targets = (picture.id,), soft_scores(record, frequent)
                    family = intern(str(record.get("question_type", "")))
                    text = question["question"]
                    yield Example(str(number), text, images, targets, record, family)

    def _pairs(self, part: str, faults: Faults) -> Iterator[tuple[base.Record, base.Record]]:
        questions, answers = self._file(QUESTIONS, part), self._file(ANSWERS, part)
        asked = {r["question_id"]: r for _, r in _records(questions, "questions", faults)}
        faults.refuse()  # else the annotations of faulty questions would be listed too
        for where, record in _records(answers, "annotations", faults):
            with faults.of(answers, where):
                question, image = asked.pop(record["question_id"], {}), record["image_id"]
                if question.get("image_id") != image:
                    raise RecordFault(f"not about image {image} in {questions.name}, or not there")
                yield question, record
        faults.refuse()
        for number in asked:
            faults.add(questions, f"question {number}", f"no annotation in {answers.name}")


def _records(path: Path, key: str, faults: Faults) -> Iterator[tuple[str, base.Record]]:
    """The checked questions or annotations of an official file, with what messages call them."""
    seen: set[int] = set()
    for where, record in base.read_named(path, "question", "question_id", key):
        with faults.of(path, where):
            base.require_new(field(record, "question_id", int), seen)
            field(record, "image_id", int)
            if key == "questions":
                field(record, "question", str)
            else:
                _require_answers(record)
            yield where, record


def _require_answers(record: base.Record) -> None:
    for key in TYPES:
        if record.get(key) is not None:
            field(record, key, str)
    if not field(record, "answers", list):
        raise RecordFault("no answers")
    for answer in record["answers"]:  # six million: `field` is for the faulty
        if type(answer) is not dict or type(answer.get("answer")) is not str:
            field(answer, "answer", str)


def soft_scores(annotation: base.Record, frequent: Set[str] | None = None) -> dict[str, float]:
    """Answer -> score in (0, 1] by how many annotators gave it; only `frequent` ones if given."""
    counts = Counter(answer["answer"] for answer in annotation["answers"])
    return {
        intern(answer): SOFT_SCORES.get(count, 1.0)
        for answer, count in counts.items()
        if frequent is None or answer in frequent
    }
