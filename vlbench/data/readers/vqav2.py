"""VQAv2 in the Karpathy split, rebuilt from the official question and annotation files.

A question belongs to the split of its image in `dataset_coco.json`, as in VL-T5's `karpathy_*.json`
files. Training targets are the answers as annotated, nothing lower-cased, with a soft score by the
number of annotators: 0.3, 0.6, 0.9, and 1 from four on. The authors' targets hold only the 3,129
answers that are frequent in train and val; so do ours where their `trainval_ans2label.json` lies
beside the annotations. Without it all answers are targets, and no question is without one.

Where official files are absent, the `karpathy_{train,val,test}.json` of VL-T5 and VL-Adapter serve.
They hold the targets of training. To be scored by, the ten answers are needed: in the record where
it has `answers`, else in the official annotation file of the image's folder.

The splits `test2015` and `test-dev2015` have no answers: the dataset's server scores them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace
from pathlib import Path
from sys import intern

from vlbench.data.example import Example, Faults, RecordFault, field
from vlbench.data.readers import base, coco
from vlbench.errors import MissingError

UNANSWERED = ("test2015", "test-dev2015")
QUESTIONS = "v2_OpenEnded_mscoco_{}_questions.json"
ANSWERS = "v2_mscoco_{}_annotations.json"
AUTHORS = "karpathy_{}.json"
FREQUENT = "trainval_ans2label.json"
SOFT_SCORES = {1: 0.3, 2: 0.6, 3: 0.9}
TYPES = ("answer_type", "question_type")
"""What scores are grouped by, where it is annotated."""


class VQAv2(base.Reader):
    """Open questions about COCO images, ten answers each."""

    splits = ("train", "val", "test", *UNANSWERED)
    feature_places = coco.FEATURE_PLACES

    def files(self, split: str) -> list[Path]:
        """The Karpathy file, both official pairs, and the authors' answer list if it exists."""
        if split in UNANSWERED:
            return [self._file(QUESTIONS, split)]
        pairs = [self._file(f, part) for part in coco.FOLDERS for f in (QUESTIONS, ANSWERS)]
        official = [self.root / coco.KARPATHY, *pairs]
        authors, frequent = self._file(AUTHORS, split), self._file(FREQUENT)
        if authors.is_file() and not all(file.is_file() for file in official):
            return [authors, *filter(Path.is_file, pairs[1::2])]
        return [*official, *filter(Path.is_file, [frequent])]

    def examples(self, split: str, faults: Faults) -> base.Examples:
        if split not in UNANSWERED:
            authors = self._file(AUTHORS, split)
            is_authors = authors in self.files(split)
            read = (
                self._authors_examples(authors, faults)
                if is_authors
                else self._official_examples(split, faults)
            )
            yield from read
            return
        for _, record in _records(self._file(QUESTIONS, split), "questions", faults):
            images = (f"COCO_test2015_{record['image_id']:012d}",)
            yield Example(str(record["question_id"]), record["question"], images, {}, record)

    def training_examples(self, split: str, faults: Faults) -> base.Examples:
        authors = self._file(AUTHORS, split)
        if authors in self.files(split):  # needs no official answers
            return (example for _, example, _ in base.read_authors_questions(authors, int, faults))
        return iter(super().training_examples(split, faults))

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        return (
            (str(record["question_id"]), record)
            for _, record in _records(path, "annotations", faults)
        )

    def image_path(self, image_id: str) -> Path:
        return coco.coco_image(self.root, image_id)

    def _file(self, name: str, part: str = "") -> Path:
        return self.root / "vqa" / name.format(part)

    def _official_examples(self, split: str, faults: Faults) -> base.Examples:
        """The examples of a Karpathy split from the official pairs."""
        karpathy = list(coco.read_karpathy(self.root / coco.KARPATHY, faults))
        faults.refuse()  # else every question about a faulty image would be listed too
        images = {picture.cocoid: picture.id for picture in karpathy if picture.split == split}
        known = {picture.cocoid for picture in karpathy}
        frequent = None
        if self._file(FREQUENT).is_file():
            frequent = {answer for answer, _ in base.read_table(self._file(FREQUENT), "answer")}
        for part in sorted({coco.folder_of(image) for image in images.values()} & {*coco.FOLDERS}):
            questions, answers = self._file(QUESTIONS, part), self._file(ANSWERS, part)
            asked: dict[int, base.Record] = {}
            for where, record in _records(questions, "questions", faults):
                with faults.of(questions, where):
                    if record["image_id"] not in known:
                        raise RecordFault(f"no image {record['image_id']} in {coco.KARPATHY}")
                    asked[record["question_id"]] = record
            faults.refuse()  # else the annotations of faulty questions would be listed too
            for where, record in _records(answers, "annotations", faults):
                with faults.of(answers, where):
                    question = asked.pop(record["question_id"], None)
                    if question is None:
                        raise RecordFault(f"no such question in {questions.name}")
                    if question["image_id"] != (image := record["image_id"]):
                        raise RecordFault(f"is about another image than in {questions.name}")
                    if image in images:
                        targets = soft_scores(record, frequent)
                        family = intern(str(record.get("question_type", "")))
                        example = Example(
                            str(record["question_id"]),
                            question["question"],
                            (images[image],),
                            targets,
                        )
                        yield replace(example, annotation=record, family=family)
            faults.refuse()  # else what faulty annotations belong to would be listed too
            for number in asked:
                faults.add(questions, f"question {number}", f"no annotation in {answers.name}")

    def _authors_examples(self, path: Path, faults: Faults) -> base.Examples:
        """The examples of the authors' file, to be scored with the official answers."""
        questions = list(base.read_authors_questions(path, int, faults))
        unanswered = {
            record["question_id"]: coco.folder_of(example.images[0])
            for _, example, record in questions
            if "answers" not in record
        }
        files = {self._file(ANSWERS, part) for part in {*unanswered.values()} & {*coco.FOLDERS}}
        if missing := "".join(f"\n  {file}" for file in sorted(files) if not file.is_file()):
            raise MissingError(
                f"{path}: has no 'answers' to score by, only what training needs. The ten answers "
                f"of each question are in the official annotations; looked for:{missing}"
            )
        answers = {
            record["question_id"]: record
            for file in files
            for _, record in _records(file, "annotations", faults)
            if record["question_id"] in unanswered
        }
        for where, example, record in questions:
            with faults.of(path, where):
                scored = record if "answers" in record else answers.get(record["question_id"])
                if scored is None:
                    raise RecordFault(f"no annotation of it, or of {example.images[0]}")
                _require_answers(scored)
                family = str(scored.get("question_type", "")) or example.family
                yield replace(example, annotation=scored, family=family)


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
    """Raise RecordFault where a record has no answers, or one or a type that is no text."""
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
