"""Your own data: records of pictures, a question and an answer, in the files that a card names.

A format (formats.py) yields records with the keys KEYS. Here they are checked and become examples,
with the annotation that the card's metric reads.
"""

from __future__ import annotations

import glob
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Self

from vlbench.cards.schema import PARTS, TaskCard
from vlbench.data.example import Example, Faults, RecordFault, excerpt, field
from vlbench.data.readers import base
from vlbench.data.readers.splitting import split_by_picture
from vlbench.data.readers.vqav2 import soft_scores
from vlbench.errors import CardError, DataError, MissingError

ANSWERS = ("answer", "answers", "captions")
KEYS = ("id", "image", "images", "question", "choices", *ANSWERS)
OFFICIAL_METRICS = ("gqa", "nlvr2")
"""Metrics that read more of an official record than its answers."""
FEWEST_ANNOTATORS = 4
"""VQA accuracy compares with the other annotators: with fewer no answer scores 100 %."""


class OwnData(base.Reader):
    """Examples of the files that a task card names."""

    splits = PARTS
    needs_root = False

    def __init__(self, root: Path, card: TaskCard | None = None) -> None:
        if card is None or card.files is None:
            raise CardError(
                f"{card.shown if card else type(self).__name__}: files: Missing. [files] names "
                "the data: train, val and test, or all, which is split by picture."
            )
        if card.metric in OFFICIAL_METRICS:
            raise CardError(
                f"{card.shown}: metric: '{card.metric}' reads official records. For your own data: "
                'accuracy, anls, captions, token-f1, vqa, vqa-2021, or "module:function".'
            )
        super().__init__(Path(card.files.folder))
        self.card, self.named = card, card.files

    @classmethod
    def of_card(cls, card: TaskCard, root: Path) -> Self:
        return cls(root, card)

    @property
    def settings(self) -> str:
        keys = {"files", "metric", "choices", "images_per_example"}
        return self.card.model_dump_json(include=keys)

    def files(self, split: str) -> list[Path]:
        names = self.named.all or getattr(self.named, split)
        return list(dict.fromkeys(path for name in names for path in _matching(self.root, name)))

    @abstractmethod
    def records(self, path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
        """(what messages call it, record) of a file; a record has the keys KEYS."""

    def examples(self, split: str, faults: Faults) -> list[Example]:
        examples = list(self._examples(split, faults))
        if not self.named.all:
            return examples
        images = [example.images for example in examples]
        rule = self.named.val_percent, self.named.test_percent, self.named.split_seed
        parts = split_by_picture(images, *rule)
        return [example for example, part in zip(examples, parts, strict=True) if part == split]

    def image_path(self, image_id: str) -> Path:
        path, is_clip = self._pictures / image_id, self.card.visual == "video"
        if os.path.isdir(path) if is_clip else os.path.isfile(path):  # any text may be a name
            return path
        raise MissingError(f"{path}: no such {'folder of frames' if is_clip else 'picture'}")

    def origin(self, image_id: str) -> str:
        return self._origins.get(image_id, "")

    def unread(self, split: str) -> Counter[str]:
        """Keys that no example is made of -> the number of records that have them."""
        records = (r for path in self.files(split) for _, r in self.records(path, Faults()))
        tables = (record for record in records if isinstance(record, dict))
        return Counter(key for record in tables for key in record if key not in KEYS)

    @property
    def _pictures(self) -> Path:
        """What the ids of pictures, which are paths, are relative to."""
        return self.root / self.named.images

    @cached_property
    def _origins(self) -> dict[str, str]:
        origins: dict[str, str] = {}
        for path in (path for split in PARTS for path in self.files(split) if path.is_file()):
            folder = self._picture_folder(path)
            with suppress(DataError):  # of the file, which its own split reports
                for where, record in self.records(path, faults := Faults()):
                    with faults.of(path, where):
                        for image in _images(folder, record):
                            origins.setdefault(image, f"{path}: {where}")
        return origins

    def _examples(self, split: str, faults: Faults) -> Iterator[Example]:
        seen: set[str] = set()
        for path in self.files(split):
            name = Path(os.path.relpath(path, self.root)).with_suffix("").as_posix()
            folder = self._picture_folder(path)
            for number, (where, record) in enumerate(self.records(path, faults), 1):
                with faults.of(path, where):
                    example = self._example(folder, record, f"{name}-{number}")
                    base.require_new(example.id, seen, f"the id '{example.id}'")
                    yield example

    def _picture_folder(self, path: Path) -> str:
        """What a file's pictures are named from, seen from the folder that ids are relative to."""
        return "" if self.named.images else os.path.relpath(path.parent, self._pictures)

    def _example(self, folder: str, record: Any, unnamed: str) -> Example:
        images = _images(folder, record)
        record = {key: value for key, value in record.items() if value is not None}
        if len(images) != self.card.images_per_example:
            expected = f"the card says images_per_example = {self.card.images_per_example}"
            raise RecordFault(f"{len(images)} pictures; {expected}")
        identifier = record.get("id", unnamed)
        if type(identifier) is not int and not text(record | {"id": identifier}, "id"):
            raise RecordFault("'id' is empty")
        question = text(record, "question") if "question" in record else ""
        answers = _answers(record)
        if "choices" in record:
            question, answers = _lettered(question, texts(record, "choices"), answers)
        if self.card.choices and not {*answers} <= {*self.card.choices}:
            known = ", ".join(self.card.choices)
            raise RecordFault(f"{excerpt(answers[0])} is none of the card's choices: {known}")
        targets, annotation = _for_metric(self.card.metric, answers)
        return Example(str(identifier).strip(), question, images, targets, annotation)


def _images(folder: str, record: Any) -> tuple[str, ...]:
    """The ids of a record's pictures: paths, seen from the folder of pictures."""
    if not isinstance(record, dict):
        raise RecordFault(f"should be an object, found {excerpt(record)}")
    given = [key for key in ("image", "images") if record.get(key) is not None]
    if len(given) != 1:
        raise RecordFault("both 'image' and 'images'" if given else "'image' is missing")
    names = [text(record, "image")] if given == ["image"] else texts(record, "images")
    if not all(names):
        raise RecordFault(f"'{given[0]}' is empty")
    return tuple(os.path.normpath(os.path.join(folder, name)) for name in names)


def _matching(folder: Path, name: str) -> list[Path]:
    """The files of a path or glob; where there is none, the path itself, to be reported."""
    path = folder / name
    if path.exists() or not glob.has_magic(name):
        return [path]
    matches = sorted(glob.glob(name, root_dir=folder, recursive=True))
    return [folder / match for match in matches] or [path]


def text(record: dict[str, Any], key: str) -> str:
    """The text under `key`, without surrounding space."""
    value = field(record, key, str)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RecordFault(f"'{key}' holds half a character: {excerpt(value)!a}") from None
    return value.strip()


def texts(record: dict[str, Any], key: str) -> list[str]:
    """The list of texts under `key`, one or more."""
    values = field(record, key, list)
    if not values:
        raise RecordFault(f"'{key}' is an empty list")
    return [text({f"{key}[{n}]": value}, f"{key}[{n}]") for n, value in enumerate(values)]


def _answers(record: dict[str, Any]) -> list[str]:
    """A record's answers: one, those of several annotators, or captions."""
    given = [key for key in ANSWERS if key in record]
    if len(given) != 1:
        names = " and ".join(f"'{key}'" for key in given) or "none"
        raise RecordFault(f"should have one of 'answer', 'answers' and 'captions', found {names}")
    [key] = given
    answers = [text(record, key)] if key == "answer" else texts(record, key)
    if not all(answers):
        raise RecordFault(f"'{key}' is empty" if key == "answer" else f"'{key}' holds an empty one")
    return answers


def _lettered(question: str, choices: list[str], answers: list[str]) -> tuple[str, list[str]]:
    """The question with its choices below, A. to Z., and the letter of the answer."""
    if len(set(choices)) < len(choices) or len(choices) > len(ascii_uppercase):
        raise RecordFault(f"'choices' should be 1 to 26 different texts, found {excerpt(choices)}")
    if len(answers) > 1 or answers[0] not in choices:
        raise RecordFault(f"{excerpt(answers)} should be one of 'choices', {excerpt(choices)}")
    lines = [
        f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)
    ]
    letter = ascii_uppercase[choices.index(answers[0])]
    return "\n".join(filter(None, [question, *lines])), [letter]


def _for_metric(metric: str, answers: list[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """Training targets with their scores, and the annotation that a metric reads."""
    if metric in ("vqa", "vqa-2021"):
        if len(answers) < FEWEST_ANNOTATORS:
            raise RecordFault(
                f"VQA accuracy compares with other annotators: 'answers' should be of "
                f'{FEWEST_ANNOTATORS} or more, found {len(answers)}. For one: metric = "accuracy"'
            )
        annotation = {"answers": [{"answer": a, "answer_id": n} for n, a in enumerate(answers, 1)]}
        return soft_scores(annotation), annotation
    key = "captions" if metric in ("captions", "value-captions") else "answers"
    return dict.fromkeys(answers, 1.0), {key: answers}
