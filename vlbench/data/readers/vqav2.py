"""VQAv2 in the Karpathy split, rebuilt from the official question and annotation files.

A question belongs to the split of its image in `dataset_coco.json`, as in VL-T5's `karpathy_*.json`
files. Training targets are the answers as annotated, nothing lower-cased, with a soft score by the
number of annotators: 0.3, 0.6, 0.9, and 1 from four on. The authors' targets hold only the 3,129
answers that are frequent in train and val; so do ours where their `trainval_ans2label.json` lies
beside the annotations. Without it all answers are targets, and no question is without one.

Where official files are absent, the authors' `karpathy_*.json` serve (vqav2_authors.py). The splits
`test2015` and `test-dev2015` have no answers: the dataset's server scores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from functools import partial
from pathlib import Path

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, excerpt, field
from vlbench.data.readers.base import Reader, name_of, read_json
from vlbench.data.readers.coco import (
    FEATURE_PLACES,
    FOLDERS,
    Picture,
    coco_image,
    karpathy_file,
    read_pictures,
)
from vlbench.data.readers.json_text import read_list
from vlbench.data.readers.vqav2_answers import read_annotations
from vlbench.data.readers.vqav2_authors import read_karpathy
from vlbench.errors import DataError

UNANSWERED = ("test2015", "test-dev2015")


class VQAv2(Reader):
    """Open questions about COCO images, ten answers each."""

    splits = ("train", "val", "test", *UNANSWERED)
    feature_places = FEATURE_PLACES

    def files(self, split: str) -> list[Path]:
        """The Karpathy file, both official pairs, and the authors' answer list if it is there."""
        if split in UNANSWERED:
            return [self._questions(split)]
        pairs = [file for part in FOLDERS for file in (self._questions(part), self._answers(part))]
        official = [karpathy_file(self.root), *pairs]
        if self._authors(split).is_file() and not all(file.is_file() for file in official):
            annotations = [self._answers(part) for part in FOLDERS]
            return [self._authors(split), *filter(Path.is_file, annotations)]
        return [*official, *filter(Path.is_file, [self._frequent])]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The questions about the images of a split, each with its annotation."""
        return self._split(split, faults, for_training=False)

    def read_train(self, split: str) -> list[Example]:
        """The questions without their annotations: ten records each would fill the memory."""
        return self._read(split, partial(self._split, for_training=True))

    def image_path(self, image_id: str) -> Path:
        """The file in the folder that the image id tells."""
        return coco_image(self.root, image_id)

    def _split(self, split: str, faults: Faults, for_training: bool) -> list[Example]:
        if split in UNANSWERED:
            return read_unanswered(self._questions(split), faults)
        if self._authors(split) in self.files(split):
            return read_karpathy(self._authors(split), self._answers, faults, for_training)
        return self._rebuilt(split, faults, for_training)

    def _rebuilt(self, split: str, faults: Faults, for_training: bool) -> list[Example]:
        """The examples of a Karpathy split from the official pairs."""
        karpathy = read_pictures(karpathy_file(self.root), faults)
        pictures = {picture.cocoid: picture for picture in karpathy}
        faults.refuse()  # else every question about a faulty image would be told too
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
        if faults.texts:  # else the questions of faulty annotations would be told too
            return
        is_whole = True  # else the annotations of nameless questions would be told too
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
                found = annotations.pop(question)
                if found.image != image:
                    raise RecordFault(f"is about image {image}, but not in {answers.name}")
                if image in wanted:
                    text, images = field(record, "question", str), (pictures[image].id,)
                    targets, kept, family = found.targets, found.record, found.family
                    yield Example(str(question), text, images, targets, kept, family)
            is_whole &= question is not None
        for question in annotations if is_whole else ():
            faults.add(answers, f"question {question}", f"no such question in {questions.name}")

    def _questions(self, part: str) -> Path:
        return self.root / "vqa" / f"v2_OpenEnded_mscoco_{part}_questions.json"

    def _answers(self, part: str) -> Path:
        return self.root / "vqa" / f"v2_mscoco_{part}_annotations.json"

    def _authors(self, split: str) -> Path:
        return self.root / "vqa" / f"karpathy_{split}.json"

    @property
    def _frequent(self) -> Path:
        return self.root / "vqa" / "trainval_ans2label.json"


def read_unanswered(path: Path, faults: Faults) -> list[Example]:
    """The questions of a test file, to be answered and submitted."""
    examples: dict[int, Example] = {}
    for position, record in enumerate(read_list(path, "questions")):
        with faults.of(path, f"question {name_of(record, 'question_id', position)}"):
            question = field(record, "question_id", int)
            if question in examples:
                raise RecordFault("is there twice")
            image = f"COCO_test2015_{field(record, 'image_id', int):012d}"
            text = field(record, "question", str)
            examples[question] = Example(str(question), text, (image,), {}, record)
    return list(examples.values())


def read_frequent(path: Path) -> Set[str]:
    """The answers of the authors' list, a JSON object from answer to label."""
    table = read_json(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: should be an object, found {excerpt(table)}")
    return table.keys()
