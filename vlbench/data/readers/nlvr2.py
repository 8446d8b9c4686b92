"""NLVR2: a sentence about two photographs, true or false. The `.json` files are JSON Lines.

`split-set-pair-sentence` identifies an example; its pictures are `split-set-pair-img0` (left) and
`-img1`. Training pictures lie in sub-folders named by `directory`, or flat, as in some copies.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, excerpt, field
from vlbench.data.readers.base import Reader, find_image, read_lines


class NLVR2(Reader):
    """Statements about a pair of pictures."""

    splits = ("train", "dev", "test1", "test2")

    def files(self, split: str) -> list[Path]:
        """The split's JSON Lines."""
        return [self.root / "nlvr2" / f"{split}.json"]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The statements of a split, the left picture first."""
        [path] = self.files(split)
        examples = []
        seen: set[str] = set()
        for line, record in read_lines(path, faults):
            with faults.of(path, line):
                identifier = field(record, "identifier", str)
                pair, dash, _ = identifier.rpartition("-")
                if identifier.count("-") != 3 or not dash:
                    raise RecordFault(f"{identifier}: should be split-set-pair-sentence")
                if identifier in seen:
                    raise RecordFault(f"{identifier} is there twice")
                seen.add(identifier)
                images = (f"{pair}-img0", f"{pair}-img1")
                if "directory" in record:
                    self._directories |= dict.fromkeys(images, str(record["directory"]))
                text = field(record, "sentence", str)
                examples.append(Example(identifier, text, images, verdict(record), record))
        return examples

    def image_path(self, image_id: str) -> Path:
        """The file in the folder of its split, or in the sub-folder that its record names."""
        folder = self.root / "nlvr2" / "images" / image_id.partition("-")[0]
        directory = self._directories.get(image_id)
        below = [folder / directory] if directory else [*folder.glob("[0-9]*/")]
        return find_image([*sorted(below), folder], image_id)

    @cached_property
    def _directories(self) -> dict[str, str]:
        """Picture -> sub-folder, of the records read so far."""
        return {}


def verdict(record: object) -> dict[str, float]:
    """The target of a record whose label is the string true or false, in whatever case."""
    label = field(record, "label", str)
    if label.lower() not in ("true", "false"):
        raise RecordFault(f"'label' should be true or false, found {excerpt(label)}")
    return {label.lower(): 1.0}
