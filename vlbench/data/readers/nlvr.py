"""NLVR of 2017: one drawing of three boxes, a human sentence, true or false.

The corpus as published: `ROOT/nlvr/dev/dev.json` (JSON Lines) and its pictures
`dev/images/{directory}/dev-{identifier}-{k}.png`, where k names one of the orders that the three
boxes are drawn in. Training takes every order that is there, validation and test the first one.

The official dev set is split into train and val by the number before the identifier's dash. Some
sentences stand under several numbers: the smallest decides, so that no sentence is in both. 25
sentences of the official test set also stand in dev; they stay.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, field
from vlbench.data.images import SUFFIXES
from vlbench.data.readers.base import Reader, find_image, read_lines
from vlbench.data.readers.nlvr2 import verdict

ORDERS = range(6)
"""The orders of three boxes."""
PARTS, VALIDATION = 5, 3
"""A number whose remainder by PARTS is VALIDATION is held out: 185 of 989 examples."""


class NLVR(Reader):
    """Statements about a drawing of three boxes."""

    splits = ("train", "val", "test")
    feature_places = ("features/{encoder}/nlvr",)
    is_indexed = False  # which orders of the boxes there are, the pictures tell

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
        if split != "test":
            held_out = validation_sentences([record for _, record in records])
            wanted = split == "val"
            records = [each for each in records if (_words(each[1]) in held_out) == wanted]
        examples = []
        for line, record in records:
            with faults.of(path, f"{line}: {record['identifier']}"):
                examples += self._orders(record, path.stem, split)
        return examples

    def image_path(self, image_id: str) -> Path:
        """The file in the sub-folder that its record names, or in any."""
        folder = self.root / "nlvr" / image_id.partition("-")[0] / "images"
        directory = self._directories.get(image_id.rpartition("-")[0])
        return find_image(
            [folder / directory] if directory else sorted(folder.glob("*/")), image_id
        )

    def _orders(self, record: dict[str, Any], part: str, split: str) -> list[Example]:
        """A record's examples: one per order on the disk, of which evaluation takes the first."""
        identifier = record["identifier"]
        stem = f"{part}-{identifier}"
        self._directories[stem] = field(record, "directory", str)
        folder = self.root / "nlvr" / part / "images" / record["directory"]
        images = [f"{stem}-{order}" for order in ORDERS]
        there = [image for image in images if _is_there(folder, image)]
        if not there:
            raise RecordFault(f"no picture {folder / images[0]}{SUFFIXES[1]}, nor in another order")
        kept = there if split == "train" else there[:1]
        return [
            Example(
                id=f"{identifier}-{image[len(stem) + 1 :]}" if split == "train" else identifier,
                text=record["sentence"],
                images=(image,),
                targets=verdict(record),
                annotation=record,
            )
            for image in kept
        ]

    @cached_property
    def _directories(self) -> dict[str, str]:
        """Picture without its order -> sub-folder, of the records read so far."""
        return {}


def validation_sentences(records: list[dict[str, Any]]) -> set[str]:
    """The sentences of the official dev set that are held out for validation."""
    smallest: dict[str, int] = {}
    for record in records:
        words, number = _words(record), _number(record["identifier"])
        smallest[words] = min(number, smallest.get(words, number))
    return {words for words, number in smallest.items() if number % PARTS == VALIDATION}


def _words(record: dict[str, Any]) -> str:
    """A sentence without what makes it no other sentence: case, spaces, last full stop."""
    return " ".join(record["sentence"].lower().split()).rstrip(" .")


def _number(identifier: str) -> int:
    number, dash, _ = identifier.partition("-")
    if not (dash and number.isdecimal()):
        raise RecordFault(f"identifier '{identifier}' should be number-picture")
    return int(number)


def _is_there(folder: Path, image: str) -> bool:
    return any((folder / f"{image}{suffix}").is_file() for suffix in SUFFIXES)
