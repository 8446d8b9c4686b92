"""NLVR (drawings) and NLVR2 (photographs): a sentence about pictures, true or false.

**NLVR of 2017**: one drawing of three boxes, in the corpus as published: `ROOT/nlvr/dev/dev.json`
(JSON Lines) and the pictures `dev/images/{directory}/dev-{identifier}-{k}.png`, where k names one
of the orders that the three boxes are drawn in. Training takes every order on the disk, validation
and test the first one. The official dev set is split into train and val by the number before the
identifier's dash. Some sentences stand under several numbers: the smallest decides, so that no
sentence is in both. 25 sentences of the official test set also stand in dev; they stay.

**NLVR2**: two photographs. `split-set-pair-sentence` identifies an example of its JSON Lines; its
pictures are `split-set-pair-img0` (left) and `-img1`. Training pictures lie in sub-folders named by
`directory`, or flat, as in some copies. Where an official file `ROOT/nlvr2/dev.json` is absent, the
authors' `ROOT/nlvr/valid.json` serves: a JSON list whose records name both pictures and have the
label 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from vlbench.data.example import Example, Faults, RecordFault, excerpt, field
from vlbench.data.readers.base import (
    SUFFIXES,
    Reader,
    Record,
    find_image,
    name_of,
    official_or_authors,
    read_lines,
    require_new,
)
from vlbench.data.readers.json_text import read_list

ORDERS = range(6)
"""The orders of three boxes."""
PARTS, VALIDATION = 5, 3
"""A number whose remainder by PARTS is VALIDATION is held out: 185 of 989 examples."""
AUTHORS_FILES = {"train": "train.json", "dev": "valid.json", "test1": "test.json"}


class NLVR(Reader):
    """Statements about a drawing of three boxes."""

    splits = ("train", "val", "test")
    feature_places = ("features/{encoder}/nlvr",)
    is_indexed = False  # the orders of the boxes depend on the pictures

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._directories: dict[str, str] = {}
        """Picture without its order -> sub-folder, of the records read so far."""

    def files(self, split: str) -> list[Path]:
        """The official JSON Lines: dev for train and val."""
        folder = "test" if split == "test" else "dev"
        return [self.root / "nlvr" / folder / f"{folder}.json"]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The statements of a split; in train one per order of the boxes."""
        [path] = self.files(split)
        records = []
        for line, record in read_lines(path, faults):
            with faults.of(path, line):
                _number(field(record, "identifier", str))
                field(record, "sentence", str)
                records.append((line, record))
        held_out = validation_sentences([record for _, record in records])
        examples = []
        for line, record in records:
            if split == "test" or (_words(record) in held_out) == (split == "val"):
                with faults.of(path, f"{line}: {record['identifier']}"):
                    examples += self._orders(record, path.stem, split == "train")
        return examples

    def image_path(self, image_id: str) -> Path:
        """The file in the sub-folder that its record names, or in any."""
        folder = self.root / "nlvr" / image_id.partition("-")[0] / "images"
        directory = self._directories.get(image_id.rpartition("-")[0])
        below = [folder / directory] if directory else sorted(folder.glob("*/"))
        return find_image(below, image_id)

    def _orders(self, record: Record, part: str, is_train: bool) -> list[Example]:
        """A record's examples: one per order on the disk, of which evaluation takes the first."""
        identifier = record["identifier"]
        stem = f"{part}-{identifier}"
        self._directories[stem] = field(record, "directory", str)
        folder = self.root / "nlvr" / part / "images" / record["directory"]
        orders = [
            order
            for order in ORDERS
            if any((folder / f"{stem}-{order}{suffix}").is_file() for suffix in SUFFIXES)
        ]
        if not orders:
            first = f"{folder / stem}-0{SUFFIXES[1]}"
            raise RecordFault(f"no picture {first}, nor in another order")
        return [
            Example(
                id=f"{identifier}-{order}" if is_train else identifier,
                text=record["sentence"],
                images=(f"{stem}-{order}",),
                targets=verdict(record),
                annotation=record,
            )
            for order in (orders if is_train else orders[:1])
        ]


def validation_sentences(records: list[Record]) -> set[str]:
    """The sentences of the official dev set that are held out for validation."""
    smallest: dict[str, int] = {}
    for record in records:
        words, number = _words(record), _number(record["identifier"])
        smallest[words] = min(number, smallest.get(words, number))
    return {words for words, number in smallest.items() if number % PARTS == VALIDATION}


def _words(record: Record) -> str:
    """A sentence without what makes it no other sentence: case, spaces, last full stop."""
    return " ".join(record["sentence"].lower().split()).rstrip(" .")


def _number(identifier: str) -> int:
    number, dash, _ = identifier.partition("-")
    if not (dash and number.isdecimal()):
        raise RecordFault(f"identifier '{identifier}' should be number-picture")
    return int(number)


class NLVR2(Reader):
    """Statements about a pair of photographs."""

    splits = ("train", "dev", "test1", "test2")
    feature_places = ("features/{encoder}/nlvr2", "nlvr/clip_features/data_clip_{authors}_att")

    def files(self, split: str) -> list[Path]:
        """The split's JSON Lines, or the authors' list."""
        official = self.root / "nlvr2" / f"{split}.json"
        if split in AUTHORS_FILES:
            return [official_or_authors(official, self.root / "nlvr" / AUTHORS_FILES[split])]
        return [official]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The statements of a split, the left picture first."""
        [path] = self.files(split)
        if path.parent.name == "nlvr":
            return read_authors_pairs(path, faults)
        examples, seen = [], set[str]()
        for line, record in read_lines(path, faults):
            with faults.of(path, line):
                identifier = _new_identifier(record, seen)
                pair, _, _ = identifier.rpartition("-")
                images = (f"{pair}-img0", f"{pair}-img1")
                text = field(record, "sentence", str)
                examples.append(Example(identifier, text, images, verdict(record), record))
        return examples

    def counts(self, examples: Sequence[Example]) -> dict[str, int]:
        """The groups that consistency is over: a set's sentence with all its pairs."""
        groups = {tuple(example.id.split("-")[i] for i in (0, 1, 3)) for example in examples}
        return {"consistency groups": len(groups)}

    def image_path(self, image_id: str) -> Path:
        """The file in the folder of its split, or in the sub-folder that its record names."""
        folder = self.root / "nlvr2" / "images" / image_id.partition("-")[0]
        directory = self._directories.get(image_id.rpartition("-")[0])
        below = [folder / directory] if directory else [*folder.glob("[0-9]*/")]
        return find_image([*sorted(below), folder], image_id)

    @cached_property
    def _directories(self) -> dict[str, str]:
        """Pair -> sub-folder, as the training records have it."""
        path = self.root / "nlvr2" / "train.json"
        return {
            str(record["identifier"]).rpartition("-")[0]: str(record["directory"])
            for _, record in (read_lines(path, Faults()) if path.is_file() else ())
            if isinstance(record, dict) and {"identifier", "directory"} <= record.keys()
        }


def _new_identifier(record: object, seen: set[str]) -> str:
    """The record's identifier, which must be none of `seen`, and is afterwards."""
    identifier = field(record, "identifier", str)
    if identifier.count("-") != 3:
        raise RecordFault(f"{identifier}: should be split-set-pair-sentence")
    require_new(identifier, seen, identifier)
    return identifier


def read_authors_pairs(path: Path, faults: Faults) -> list[Example]:
    """The statements of the authors' list, with annotations like the official ones."""
    examples, seen = [], set[str]()
    for position, record in enumerate(read_list(path)):
        with faults.of(path, f"statement {name_of(record, 'identifier', position)}"):
            identifier = _new_identifier(record, seen)
            text = field(record, "sent", str)
            images = (field(record, "img0", str), field(record, "img1", str))
            label = field(record, "label", int)
            if label not in (0, 1):
                raise RecordFault(f"'label' should be 0 or 1, found {label}")
            annotation = {"identifier": identifier, "label": str(bool(label))}
            examples.append(Example(identifier, text, images, verdict(annotation), annotation))
    return examples


def verdict(record: object) -> dict[str, float]:
    """The target of a record whose label is the string true or false, in whatever case."""
    label = field(record, "label", str)
    if label.lower() not in ("true", "false"):
        raise RecordFault(f"'label' should be true or false, found {excerpt(label)}")
    return {label.lower(): 1.0}
