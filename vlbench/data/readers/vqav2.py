"""VQAv2 in the Karpathy split, rebuilt from the official question and annotation files.

A question belongs to the split of its image in `dataset_coco.json`, as in VL-T5's `karpathy_*.json`
files. Training targets are the answers as annotated, nothing lower-cased, with a soft score by the
number of annotators: 0.3, 0.6, 0.9, and 1 from four on. The authors' targets hold only the 3,129
answers that are frequent in train and val; so do ours where their `trainval_ans2label.json` lies
beside the annotations. Without it all answers are targets, and no question is without one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, excerpt, field
from vlbench.data.readers.base import Reader, name_of, read_json, read_list
from vlbench.data.readers.coco import FOLDERS, Picture, coco_image, karpathy_file, read_pictures
from vlbench.errors import DataError

SOFT_SCORES = {1: 0.3, 2: 0.6, 3: 0.9}
Record = dict[str, Any]


class VQAv2(Reader):
    """Open questions about COCO images, ten answers each."""

    splits = ("train", "val", "test")

    def files(self, split: str) -> list[Path]:
        """The Karpathy file, both official pairs, and the authors' answer list if it is there."""
        pairs = [file for part in FOLDERS for file in (self._questions(part), self._answers(part))]
        return [karpathy_file(self.root), *pairs, *filter(Path.is_file, [self._frequent])]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The questions about the images of a split."""
        karpathy = read_pictures(karpathy_file(self.root), faults)
        pictures = {picture.cocoid: picture for picture in karpathy}
        faults.refuse()  # else every question about a faulty image would be told too
        folders = {picture.folder for picture in pictures.values() if picture.split == split}
        parts = [part for part in FOLDERS if part in folders] or FOLDERS  # val needs no train2014
        frequent = read_frequent(self._frequent) if self._frequent.is_file() else None
        return [
            example
            for part in parts
            for example in self._part(part, split, pictures, frequent, faults)
        ]

    def image_path(self, image_id: str) -> Path:
        """The file in the folder that the image id tells."""
        return coco_image(self.root, image_id)

    def _part(
        self,
        part: str,
        split: str,
        pictures: dict[int, Picture],
        frequent: Set[str] | None,
        faults: Faults,
    ) -> Iterator[Example]:
        """The examples of one official pair of files."""
        questions, answers = self._questions(part), self._answers(part)
        annotations = read_annotations(answers, faults)
        for position, record in enumerate(read_list(questions, "questions")):
            with faults.of(questions, f"question {name_of(record, 'question_id', position)}"):
                question = field(record, "question_id", int)
                image = field(record, "image_id", int)
                if image not in pictures:
                    raise RecordFault(f"no image {image} in COCO/{karpathy_file(self.root).name}")
                if question not in annotations:
                    raise RecordFault(
                        f"no annotation in {answers.name}, or the question is there twice"
                    )
                annotation = annotations.pop(question)
                if annotation.get("image_id") != image:
                    raise RecordFault(f"is about image {image}, but not in {answers.name}")
                if pictures[image].split != split:
                    continue
                yield Example(
                    id=str(question),
                    text=field(record, "question", str),
                    images=(pictures[image].id,),
                    targets=soft_scores(annotation, frequent),
                    annotation=annotation,
                    family=annotation.get("question_type", ""),
                )
        for question in annotations:
            faults.add(answers, f"question {question}", f"no such question in {questions.name}")

    def _questions(self, part: str) -> Path:
        return self.root / "vqa" / f"v2_OpenEnded_mscoco_{part}_questions.json"

    def _answers(self, part: str) -> Path:
        return self.root / "vqa" / f"v2_mscoco_{part}_annotations.json"

    @property
    def _frequent(self) -> Path:
        return self.root / "vqa" / "trainval_ans2label.json"


def read_annotations(path: Path, faults: Faults) -> dict[int, Record]:
    """The annotations by question id, faulty ones too: they are told, and are not missing."""
    annotations: dict[int, Record] = {}
    for position, record in enumerate(read_list(path, "annotations")):
        with faults.of(path, f"question {name_of(record, 'question_id', position)}"):
            question = field(record, "question_id", int)
            if question in annotations:
                raise RecordFault("is there twice")
            annotations[question] = record
            if not field(record, "answers", list):
                raise RecordFault("no answers")
            for answer in record["answers"]:
                field(answer, "answer", str)
    return annotations


def read_frequent(path: Path) -> Set[str]:
    """The answers of the authors' list, a JSON object from answer to label."""
    table = read_json(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: should be an object, found {excerpt(table)}")
    return table.keys()


def soft_scores(annotation: Record, frequent: Set[str] | None = None) -> dict[str, float]:
    """Answer -> score in (0, 1] by how many annotators gave it; only `frequent` ones if given."""
    answers = annotation.get("answers")
    if not isinstance(answers, list) or not all(_is_answer(answer) for answer in answers):
        return {}  # told by `read_annotations`
    counts = Counter(answer["answer"] for answer in answers)
    return {
        answer: SOFT_SCORES.get(count, 1.0)
        for answer, count in counts.items()
        if frequent is None or answer in frequent
    }


def _is_answer(answer: object) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("answer"), str)
