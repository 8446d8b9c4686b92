"""GQA: an object from question id to record, in the official files.

Question ids are strings: `01827492` and `1827492` are two questions. `train`, `val` and `testdev`
are the balanced questions, which the accuracy is over; `train_all`, `val_all` and `testdev_all`
add the unbalanced ones, with which consistency is scored. `test` (balanced) and `submission` (what
the server wants, all questions) have no answers.

Where a file of balanced questions is absent, the authors' `train.json`, `valid.json` or
`testdev.json` serves: it has no types and groups, so there is accuracy and nothing else.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from sys import intern
from typing import Any

from vlbench.data.example import Example, Faults, RecordFault, excerpt, field
from vlbench.data.readers.base import (
    Reader,
    Record,
    find_image,
    official_or_authors,
    read_authors_questions,
    require_new,
)
from vlbench.data.readers.json_text import read_table

AUTHORS_FILES = {"train": "train.json", "val": "valid.json", "testdev": "testdev.json"}
UNANSWERED = ("test", "submission")
CHUNKS = range(10)
"""`train_all` comes as a folder of this many files."""
OPTIONAL: dict[str, type[Any]] = {
    **{"types": dict, "groups": dict},
    **{"semantic": list, "entailed": list, "question": str},
}
"""Fields of a question that scores are grouped by, or that consistency follows."""


class GQA(Reader):
    """Compositional questions about scenes, one answer each."""

    splits = (
        *("train", "val", "testdev"),
        *("train_all", "val_all", "testdev_all"),
        *UNANSWERED,
    )
    feature_places = (  # train and val are pictures of Visual Genome, testdev and test of COCO
        "features/{encoder}/VG",
        "features/{encoder}/GQA",
        "VG/clip_features/data_clip_{authors}_att",
        "GQA/clip_features/data_clip_{authors}_att",
    )

    def files(self, split: str) -> list[Path]:
        """The split's questions: one file, but ten of `train_all`."""
        folder = self.root / "GQA"
        if split == "submission":
            return [folder / "submission_all_questions.json"]
        if split == "train_all":
            name = "train_all_questions"
            return [folder / name / f"{name}_{chunk}.json" for chunk in CHUNKS]
        if split.endswith("_all"):
            return [folder / f"{split}_questions.json"]
        official = folder / f"{split}_balanced_questions.json"
        if split in AUTHORS_FILES:
            return [official_or_authors(official, folder / AUTHORS_FILES[split])]
        return [official]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The questions of a split, with their records."""
        return self._questions(split, faults, for_training=False)

    def read_train(self, split: str) -> list[Example]:
        """The questions without their records, which are a gigabyte in train."""
        return self._read(split, partial(self._questions, for_training=True))

    def image_path(self, image_id: str) -> Path:
        """The file in the one folder of images."""
        return find_image([self.root / "GQA" / "images"], image_id)

    def _questions(self, split: str, faults: Faults, for_training: bool) -> list[Example]:
        paths = self.files(split)
        if paths[0].name in AUTHORS_FILES.values():
            return _authors_questions(paths[0], faults, for_training)
        examples, seen = [], set[str]()
        for path in paths:
            for question, record in read_table(path, "question id"):
                with faults.of(path, f"question {question}"):
                    require_new(question, seen)
                    text = field(record, "question", str)
                    if record.get("isBalanced", True) or split not in AUTHORS_FILES:
                        targets = {}
                        if split not in UNANSWERED:
                            targets = {intern(field(record, "answer", str)): 1.0}
                        image = (intern(field(record, "imageId", str)),)
                        kept = {} if for_training else record
                        check_scored(kept)
                        family = intern(_family(record))
                        examples.append(Example(question, text, image, targets, kept, family))
        return examples


def check_scored(record: Record) -> None:
    """Raise RecordFault where what is scored beside the answer is of another type."""
    for key, kind in OPTIONAL.items():
        if record.get(key) is not None:
            field(record, key, kind)
    if (record.get("groups") or {}).get("global") is not None:
        field(record["groups"], "global", str)
    for step in record.get("semantic") or ():
        field(step, "operation", str)
        field(step, "argument", str)
    for entailed in record.get("entailed") or ():
        if not isinstance(entailed, str):
            raise RecordFault(f"'entailed' should hold question ids, found {excerpt(entailed)}")


def _family(record: Record) -> str:
    types = record.get("types")
    return str(types.get("detailed", "")) if isinstance(types, dict) else ""


def _authors_questions(path: Path, faults: Faults, for_training: bool) -> list[Example]:
    """The examples of the authors' file; to be scored, a question needs an answer."""
    examples = []
    for where, example, _ in read_authors_questions(path, str, faults):
        with faults.of(path, where):
            if not for_training:
                if not example.targets:
                    raise RecordFault("'label' has no answer to score by")
                best = max(example.targets, key=example.targets.__getitem__)
                example.annotation.update(question=example.text, answer=best)
            examples.append(example)
    return examples
