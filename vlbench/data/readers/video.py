"""Clips with subtitles, in the files of VALUE (Li et al., 2021, https://arxiv.org/abs/2106.04632).

A text begins with the subtitles of the whole clip, in the order of their file and as they are
spelt there (HTML entities too), whatever moment the rest of the text is about. VALUE keeps the
labels of its test splits to itself: there is train and val.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, field
from vlbench.data.readers.base import Reader, read_lines
from vlbench.errors import MissingError

Record = dict[str, Any]


class VideoReader(Reader):
    """Texts about clips: a JSON Lines file per split, and one with the subtitles of all clips."""

    splits = ("train", "val")
    annotations: ClassVar[str]
    """The split's file below `video/ann`, with `{split}` in its name."""
    subtitles: ClassVar[str]
    """The subtitles' file there."""

    @abstractmethod
    def items(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        """The examples of a record about `clip`; `spoken` begins their texts."""

    def files(self, split: str) -> list[Path]:
        """The split's file and the subtitles."""
        folder = self.root / "video" / "ann"
        return [folder / self.annotations.format(split=split), folder / self.subtitles]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The items of all records of a split, in their order."""
        path, subtitles = self.files(split)
        spoken = read_subtitles(subtitles, faults)
        faults.refuse()  # else every record about a faulty clip would be told too
        found: dict[str, Example] = {}
        for line, record in read_lines(path, faults):
            with faults.of(path, line):
                clip = field(record, "vid_name", str)
                if clip not in spoken:
                    raise RecordFault(f"no subtitles of clip {clip} in {subtitles.name}")
                for example in self.items(record, clip, spoken[clip]):
                    if example.id in found:
                        raise RecordFault(f"{example.id} is there twice")
                    found[example.id] = example
        return list(found.values())

    def image_path(self, image_id: str) -> Path:
        """MissingError: a clip is no picture."""
        raise MissingError(f"clip {image_id}: video features are not supported yet")


def read_subtitles(path: Path, faults: Faults) -> dict[str, str]:
    """Clip -> `[Subs]` and what is said in it; of two records for a clip the later one holds."""
    spoken = {}
    for line, record in read_lines(path, faults):
        with faults.of(path, line):
            texts = [field(each, "text", str).strip() for each in field(record, "sub", list)]
            spoken[field(record, "vid_name", str)] = f"[Subs] {' '.join(texts)}"
    return spoken
