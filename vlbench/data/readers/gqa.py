"""GQA: an object from question id to record; ids are strings, `01827492` is not `1827492`.

`train`, `val` and `testdev` are the balanced questions, which the accuracy is over; `..._all` add
the unbalanced ones, for consistency; `test` (balanced) and `submission` (all) have no answers.
Where a balanced file is absent, the authors' list serves: it allows accuracy and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from sys import intern

from vlbench.data.example import Example, Faults, RecordFault, excerpt, field
from vlbench.data.readers import base

AUTHORS_FILES = {"train": "train.json", "val": "valid.json", "testdev": "testdev.json"}
UNANSWERED = ("test", "submission")


class GQA(base.Reader):
    """Compositional questions about scenes, one answer each."""

    splits = (*AUTHORS_FILES, "train_all", "val_all", "testdev_all", *UNANSWERED)
    feature_places = (  # train and val are pictures of Visual Genome, testdev and test of COCO
        "features/{encoder}/VG",
        "features/{encoder}/GQA",
        "VG/clip_features/data_clip_{authors}_att",
        "GQA/clip_features/data_clip_{authors}_att",
    )

    def files(self, split: str) -> list[Path]:
        folder = self.root / "GQA"
        if split == "train_all":  # comes as a folder of ten
            return [folder / f"{split}_questions/{split}_questions_{n}.json" for n in range(10)]
        if split.endswith("_all") or split == "submission":
            return [folder / f"{split.removesuffix('_all')}_all_questions.json"]
        official = folder / f"{split}_balanced_questions.json"
        return [base.official_or_authors(official, folder / AUTHORS_FILES.get(split, ""))]

    def examples(self, split: str, faults: Faults) -> base.Examples:
        seen: set[str] = set()
        for path in self.files(split):
            yield from _read(path, faults, seen, split)

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        return ((example.id, example.annotation) for example in _read(path, faults, set()))

    def image_path(self, image_id: str) -> Path:
        return base.find_image([self.root / "GQA" / "images"], image_id)


def _read(path: Path, faults: Faults, seen: set[str], split: str = "") -> base.Examples:
    if base.is_list(path):
        yield from _read_authors(path, faults)
        return
    for question, record in base.read_table(path, "question id"):
        with faults.of(path, f"question {question}"):
            base.require_new(question, seen)
            text, images = field(record, "question", str), (intern(field(record, "imageId", str)),)
            if split in AUTHORS_FILES and not record.get("isBalanced", True):
                continue
            is_answered = split not in UNANSWERED
            targets = {intern(field(record, "answer", str)): 1.0} if is_answered else {}
            _check_scored(record)
            family = intern(str((record.get("types") or {}).get("detailed", "")))
            yield Example(question, text, images, targets, record, family)


def _read_authors(path: Path, faults: Faults) -> base.Examples:
    """A list of `{"question_id", "img_id", "sent", "label"}`, where `label` is answer -> score."""
    seen: set[str] = set()
    for where, record in base.read_named(path, "question", "question_id"):
        with faults.of(path, where):
            question, text = field(record, "question_id", str), field(record, "sent", str)
            base.require_new(question, seen)
            label: dict[str, float] = field(record, "label", dict)
            if not label or not all(isinstance(score, int | float) for score in label.values()):
                raise RecordFault(f"'label' should be a score by answer, found {excerpt(label)}")
            scored = {"question": text, "answer": max(label, key=label.__getitem__)}
            yield Example(question, text, (field(record, "img_id", str),), label, scored)


def _check_scored(record: base.Record) -> None:
    record = {"types": {}, "groups": {}, "semantic": [], "entailed": []} | {
        key: value for key, value in record.items() if value is not None
    }
    field(record, "types", dict)
    if field(record, "groups", dict).get("global") is not None:
        field(record["groups"], "global", str)
    for step in field(record, "semantic", list):
        field(step, "operation", str)
        field(step, "argument", str)
    for entailed in field(record, "entailed", list):
        if not isinstance(entailed, str):
            raise RecordFault(f"'entailed' should hold question ids, found {excerpt(entailed)}")
