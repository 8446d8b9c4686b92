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
from typing import Any

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
Pictures = dict[int, coco.Picture]
"""By COCO id."""


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

    def examples(self, split: str, faults: Faults, for_training: bool = False) -> base.Examples:
        if split in UNANSWERED:
            return read_questions(self._file(QUESTIONS, split), faults)
        if self._file(AUTHORS, split) in self.files(split):
            return self._authors_examples(split, faults, for_training)
        return self._official_examples(split, faults, for_training)

    def training_examples(self, split: str, faults: Faults) -> base.Examples:
        return self.examples(split, faults, for_training=True)

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        return ((str(question), record) for question, record in _read_answers(path, faults))

    def image_path(self, image_id: str) -> Path:
        return coco.coco_image(self.root, image_id)

    def _file(self, name: str, part: str = "") -> Path:
        return self.root / "vqa" / name.format(part)

    def _official_examples(self, split: str, faults: Faults, for_training: bool) -> base.Examples:
        """The examples of a Karpathy split from the official pairs."""
        karpathy = coco.read_karpathy(self.root / coco.KARPATHY, faults)
        pictures = {picture.cocoid: picture for picture in karpathy}
        faults.refuse()  # else every question about a faulty image would be listed too
        names = (picture.id for picture in pictures.values() if picture.split == split)
        for part in sorted({coco.folder_of(name) for name in names} & {*coco.FOLDERS}):
            yield from self._part(part, split, pictures, faults, for_training)

    def _part(
        self, part: str, split: str, pictures: Pictures, faults: Faults, for_training: bool
    ) -> base.Examples:
        """The examples about the split's images in one official pair of files."""
        questions, answers = self._file(QUESTIONS, part), self._file(ANSWERS, part)
        frequent = None
        if self._file(FREQUENT).is_file():
            frequent = {answer for answer, _ in base.read_table(self._file(FREQUENT), "answer")}
        annotated: dict[int, tuple[Any, ...]] = {}
        """Question -> image, and of the split's images what its example takes of the record."""
        for question, record in _read_answers(answers, faults):
            image = record["image_id"]
            picture = pictures.get(image)
            if picture is None or picture.split != split:
                annotated[question] = (image,)
                continue
            family = intern(str(record.get("question_type", "")))
            kept = {} if for_training else record
            annotated[question] = (image, soft_scores(record, frequent), kept, family)
        if faults.texts:  # else the questions of faulty annotations would be listed too
            return
        for where, record in base.read_named(questions, "question", "question_id", "questions"):
            with faults.of(questions, where):
                question, image = field(record, "question_id", int), field(record, "image_id", int)
                if image not in pictures:
                    raise RecordFault(f"no image {image} in {coco.KARPATHY}")
                if question not in annotated:
                    raise RecordFault(
                        f"no annotation in {answers.name}, or the question is there twice"
                    )
                annotated_image, *taken = annotated.pop(question)
                if annotated_image != image:
                    raise RecordFault(f"is about image {image}, but not in {answers.name}")
                if taken:
                    text, images = field(record, "question", str), (pictures[image].id,)
                    yield Example(str(question), text, images, *taken)
        for question in annotated if not faults.texts else ():
            faults.add(answers, f"question {question}", f"no such question in {questions.name}")

    def _authors_examples(self, split: str, faults: Faults, for_training: bool) -> base.Examples:
        """The examples of the authors' file, to be scored with the official answers."""
        path = self._file(AUTHORS, split)
        examples: list[Example] = []
        unanswered: dict[Path, dict[int, int]] = {}
        """Annotation file -> question -> index in `examples`, of those it has the answers of."""
        for where, example, record in base.read_authors_questions(path, int, faults):
            with faults.of(path, where):
                if not for_training and "answers" in record:
                    _require_answers(record)
                elif not for_training:
                    folder = coco.folder_of(example.images[0])
                    if folder not in coco.FOLDERS:
                        raise RecordFault(
                            f"'img_id' should be COCO_val2014_..., found {example.images[0]}"
                        )
                    indices = unanswered.setdefault(self._file(ANSWERS, folder), {})
                    indices[record["question_id"]] = len(examples)
                kept = {} if for_training else record
                family = str(record.get("question_type", ""))
                examples.append(replace(example, annotation=kept, family=family))
        if missing := "".join(f"\n  {file}" for file in unanswered if not file.is_file()):
            raise MissingError(
                f"{path}: has no 'answers' to score by, only what training needs. The ten answers "
                f"of each question are in the official annotations; looked for:{missing}"
            )
        for file, indices in unanswered.items():
            for question, record in _read_answers(file, faults):
                if question in indices:
                    example = examples[index := indices.pop(question)]
                    family = str(record.get("question_type", "")) or example.family
                    examples[index] = replace(example, annotation=record, family=family)
            for question in indices:
                faults.add(file, f"question {question}", "no annotation")
        yield from examples


def _read_answers(path: Path, faults: Faults) -> Iterator[tuple[int, base.Record]]:
    """The official annotations, with the question each is of."""
    seen: set[int] = set()
    for where, record in base.read_named(path, "question", "question_id", "annotations"):
        with faults.of(path, where):
            question = field(record, "question_id", int)
            base.require_new(question, seen)
            field(record, "image_id", int)
            _require_answers(record)
            yield question, record


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


def read_questions(path: Path, faults: Faults) -> base.Examples:
    """The questions of an official file, without answers."""
    seen: set[int] = set()
    for where, record in base.read_named(path, "question", "question_id", "questions"):
        with faults.of(path, where):
            question = field(record, "question_id", int)
            base.require_new(question, seen)
            image = f"COCO_test2015_{field(record, 'image_id', int):012d}"
            yield Example(str(question), field(record, "question", str), (image,), {}, record)
