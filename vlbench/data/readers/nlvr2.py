"""NLVR2: a sentence about two photographs, true or false. The `.json` files are JSON Lines.

`split-set-pair-sentence` identifies an example; its pictures are `split-set-pair-img0` (left) and
`-img1`. Training pictures lie in sub-folders named by `directory`, or flat, as in some copies.

Where an official file `ROOT/nlvr2/dev.json` is absent, the authors' `ROOT/nlvr/valid.json` serves:
a JSON list whose records name both pictures and have the label 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, excerpt, field
from vlbench.data.readers.base import Reader, find_image, name_of, read_lines
from vlbench.data.readers.json_text import read_list

AUTHORS_FILES = {"train": "train.json", "dev": "valid.json", "test1": "test.json"}


class NLVR2(Reader):
    """Statements about a pair of pictures."""

    splits = ("train", "dev", "test1", "test2")
    feature_places = ("features/{encoder}/nlvr2", "nlvr/clip_features/data_clip_{authors}_att")

    def files(self, split: str) -> list[Path]:
        """The split's JSON Lines, or the authors' list."""
        official = self.root / "nlvr2" / f"{split}.json"
        if split in AUTHORS_FILES and not official.is_file():
            theirs = self.root / "nlvr" / AUTHORS_FILES[split]
            return [theirs if theirs.is_file() else official]
        return [official]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The statements of a split, the left picture first."""
        [path] = self.files(split)
        if path.parent.name == "nlvr":
            return read_authors_pairs(path, faults)
        examples = []
        seen: set[str] = set()
        for line, record in read_lines(path, faults):
            with faults.of(path, line):
                identifier = new_identifier(record, seen)
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
        if not path.is_file():
            return {}
        return {
            str(record["identifier"]).rpartition("-")[0]: str(record["directory"])
            for _, record in read_lines(path, Faults())
            if isinstance(record, dict) and {"identifier", "directory"} <= record.keys()
        }


def new_identifier(record: object, seen: set[str]) -> str:
    """The record's identifier, which must be none of `seen`, and is afterwards."""
    identifier = field(record, "identifier", str)
    if identifier.count("-") != 3:
        raise RecordFault(f"{identifier}: should be split-set-pair-sentence")
    if identifier in seen:
        raise RecordFault(f"{identifier} is there twice")
    seen.add(identifier)
    return identifier


def read_authors_pairs(path: Path, faults: Faults) -> list[Example]:
    """The statements of the authors' list, with annotations like the official ones."""
    examples = []
    seen: set[str] = set()
    for position, record in enumerate(read_list(path)):
        with faults.of(path, f"statement {name_of(record, 'identifier', position)}"):
            identifier = new_identifier(record, seen)
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
