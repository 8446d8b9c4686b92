"""VQAv2 in the Karpathy split, rebuilt from the official question and annotation files.

A question belongs to the split of its image in `dataset_coco.json`, as in VL-T5's `karpathy_*.json`
files. Training targets are the answers as annotated, nothing lower-cased, with a soft score by the
number of annotators: 0.3, 0.6, 0.9, and 1 from four on. The authors' targets hold only the 3,129
answers that are frequent in train and val; so do ours where their `trainval_ans2label.json` lies
beside the annotations. Without it all answers are targets, and no question is without one.

Where official files are absent, the `karpathy_{train,val,test}.json` of VL-T5 and VL-Adapter serve.
They hold the targets of training. To be scored by, the ten answers are wanted: in the record where
it has `answers`, else in the official annotation file of the image's folder.

The splits `test2015` and `test-dev2015` have no answers: the dataset's server scores them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from sys import intern
from typing import NamedTuple

from vlbench.data.example import Example, Faults, RecordFault, excerpt, field
from vlbench.data.readers.base import (
    Reader,
    Record,
    name_of,
    read_authors_questions,
    read_json,
    require_new,
)
from vlbench.data.readers.coco import (
    FEATURE_PLACES,
    FOLDERS,
    Picture,
    coco_image,
    folder_of,
    karpathy_file,
    read_pictures,
)
from vlbench.data.readers.json_text import read_list
from vlbench.errors import DataError, MissingError

UNANSWERED = ("test2015", "test-dev2015")
SOFT_SCORES = {1: 0.3, 2: 0.6, 3: 0.9}
TYPES = ("answer_type", "question_type")
"""What scores are grouped by, where it is annotated."""


class VQAv2(Reader):
    """Open questions about COCO images, ten answers each."""

    splits = ("train", "val", "test", *UNANSWERED)
    feature_places = FEATURE_PLACES

    def files(self, split: str) -> list[Path]:
        """The Karpathy file, both official pairs, and the authors' answer list if it exists."""
        if split in UNANSWERED:
            return [self._questions(split)]
        pairs = [file for part in FOLDERS for file in (self._questions(part), self._answers(part))]
        official = [karpathy_file(self.root), *pairs]
        if self._authors(split).is_file() and not all(file.is_file() for file in official):
            annotations = [self._answers(part) for part in FOLDERS]
            return [self._authors(split), *filter(Path.is_file, annotations)]
        return [*official, *filter(Path.is_file, [self._frequent])]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The questions about the images of a split, with their annotations."""
        return self._split(split, faults, for_training=False)

    def read_train(self, split: str) -> list[Example]:
        """The questions without their annotations: ten records each would fill the memory."""
        return self._read(split, partial(self._split, for_training=True))

    def image_path(self, image_id: str) -> Path:
        """The file in the folder that the image id names."""
        return coco_image(self.root, image_id)

    def _questions(self, part: str) -> Path:
        return self.root / "vqa" / f"v2_OpenEnded_mscoco_{part}_questions.json"

    def _answers(self, part: str) -> Path:
        return self.root / "vqa" / f"v2_mscoco_{part}_annotations.json"

    def _authors(self, split: str) -> Path:
        return self.root / "vqa" / f"karpathy_{split}.json"

    @property
    def _frequent(self) -> Path:
        return self.root / "vqa" / "trainval_ans2label.json"

    def _split(self, split: str, faults: Faults, for_training: bool) -> list[Example]:
        if split in UNANSWERED:
            return read_unanswered(self._questions(split), faults)
        if self._authors(split) in self.files(split):
            return self._karpathy(self._authors(split), faults, for_training)
        return self._rebuilt(split, faults, for_training)

    def _rebuilt(self, split: str, faults: Faults, for_training: bool) -> list[Example]:
        """The examples of a Karpathy split from the official pairs."""
        karpathy = read_pictures(karpathy_file(self.root), faults)
        pictures = {picture.cocoid: picture for picture in karpathy}
        faults.refuse()  # else every question about a faulty image would be listed too
        wanted = {image for image, picture in pictures.items() if picture.split == split}
        folders = {pictures[image].folder for image in wanted}
        parts = [part for part in FOLDERS if part in folders] or FOLDERS  # val needs no train2014
        frequent = read_frequent(self._frequent) if self._frequent.is_file() else None
        return [
            example
            for part in parts
            for example in self._part(part, pictures, wanted, frequent, faults, for_training)
        ]

    def _part(
        self,
        part: str,
        pictures: dict[int, Picture],
        wanted: Set[int],
        frequent: Set[str] | None,
        faults: Faults,
        for_training: bool,
    ) -> Iterator[Example]:
        """The examples about the wanted images in one official pair of files."""
        questions, answers = self._questions(part), self._answers(part)
        annotations = read_annotations(answers, wanted, frequent, faults, for_training)
        if faults.texts:  # else the questions of faulty annotations would be listed too
            return
        is_whole = True  # else the annotations of nameless questions would be listed too
        for position, record in enumerate(read_list(questions, "questions")):
            question = None
            with faults.of(questions, f"question {name_of(record, 'question_id', position)}"):
                question = field(record, "question_id", int)
                image = field(record, "image_id", int)
                if image not in pictures:
                    raise RecordFault(f"no image {image} in COCO/{karpathy_file(self.root).name}")
                if question not in annotations:
                    raise RecordFault(
                        f"no annotation in {answers.name}, or the question is there twice"
                    )
                annotated = annotations.pop(question)
                if annotated.image != image:
                    raise RecordFault(f"is about image {image}, but not in {answers.name}")
                if image in wanted:
                    text, images = field(record, "question", str), (pictures[image].id,)
                    yield Example(str(question), text, images, *annotated[1:])
            is_whole &= question is not None
        for question in annotations if is_whole else ():
            faults.add(answers, f"question {question}", f"no such question in {questions.name}")

    def _karpathy(self, path: Path, faults: Faults, for_training: bool) -> list[Example]:
        """The examples of the authors' file, to be scored with the official answers."""
        examples: list[Example] = []
        unanswered: dict[str, dict[int, int]] = {}
        """Folder -> question id -> index in `examples`, of those whose answers are elsewhere."""
        for where, example, record in read_authors_questions(path, int, faults):
            with faults.of(path, where):
                family = str(record.get("question_type", ""))
                if "answers" in record and not for_training:
                    require_answers(record)
                elif not for_training:
                    folder = folder_of(example.images[0])
                    if folder not in FOLDERS:
                        raise RecordFault(
                            f"'img_id' should be COCO_val2014_..., found {example.images[0]}"
                        )
                    unanswered.setdefault(folder, {})[record["question_id"]] = len(examples)
                kept = {} if for_training else record
                examples.append(replace(example, annotation=kept, family=family))
        files = {self._answers(folder): indices for folder, indices in unanswered.items()}
        if missing := "".join(f"\n  {file}" for file in files if not file.is_file()):
            raise MissingError(
                f"{path}: has no 'answers' to score by, only what training needs. The ten answers "
                f"of each question are in the official annotations; looked for:{missing}"
            )
        for file, indices in files.items():
            for position, record in enumerate(read_list(file, "annotations")):
                with faults.of(file, f"question {name_of(record, 'question_id', position)}"):
                    if (question := field(record, "question_id", int)) in indices:
                        require_answers(record)
                        index = indices.pop(question)
                        family = str(record.get("question_type", "")) or examples[index].family
                        examples[index] = replace(examples[index], annotation=record, family=family)
            for question in indices:
                faults.add(file, f"question {question}", "no annotation")
        return examples


class Annotation(NamedTuple):
    """Image of a question, and the fields of its example that its annotation gives."""

    image: int
    targets: dict[str, float]
    record: Record
    family: str


NOTHING: Record = {}


def read_annotations(
    path: Path, images: Set[int], frequent: Set[str] | None, faults: Faults, for_training: bool
) -> dict[int, Annotation]:
    """The annotations by question id; of other images than `images` just their image.

    Of a million and more answer records only those stay that are to be scored by.
    """
    annotations: dict[int, Annotation] = {}
    for position, record in enumerate(read_list(path, "annotations")):
        with faults.of(path, f"question {name_of(record, 'question_id', position)}"):
            question = field(record, "question_id", int)
            if question in annotations:
                raise RecordFault("is there twice")
            image = field(record, "image_id", int)
            require_answers(record)
            annotations[question] = Annotation(image, NOTHING, NOTHING, "")
            if image in images:
                targets = soft_scores(record, frequent)
                family = intern(str(record.get("question_type", "")))
                kept = NOTHING if for_training else record
                annotations[question] = Annotation(image, targets, kept, family)
    return annotations


def require_answers(record: Record) -> None:
    """Raise RecordFault where a record has no answers, or one or a type that is no text."""
    for key in TYPES:
        if record.get(key) is not None:
            field(record, key, str)
    if not field(record, "answers", list):
        raise RecordFault("no answers")
    for answer in record["answers"]:  # six million: `field` is for the faulty
        if type(answer) is not dict or type(answer.get("answer")) is not str:
            field(answer, "answer", str)


def soft_scores(annotation: Record, frequent: Set[str] | None = None) -> dict[str, float]:
    """Answer -> score in (0, 1] by how many annotators gave it; only `frequent` ones if given."""
    counts = Counter(answer["answer"] for answer in annotation["answers"])
    return {
        intern(answer): SOFT_SCORES.get(count, 1.0)
        for answer, count in counts.items()
        if frequent is None or answer in frequent
    }


def read_unanswered(path: Path, faults: Faults) -> list[Example]:
    """The questions of a test file, to be answered and submitted."""
    examples, seen = [], set[int]()
    for position, record in enumerate(read_list(path, "questions")):
        with faults.of(path, f"question {name_of(record, 'question_id', position)}"):
            question = field(record, "question_id", int)
            require_new(question, seen)
            image = f"COCO_test2015_{field(record, 'image_id', int):012d}"
            text = field(record, "question", str)
            examples.append(Example(str(question), text, (image,), {}, record))
    return examples


def read_frequent(path: Path) -> Set[str]:
    """The answers of the authors' list, a JSON object from answer to label."""
    table = read_json(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: should be an object, found {excerpt(table)}")
    return table.keys()
