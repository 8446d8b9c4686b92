"""Clips with subtitles, in the files of VALUE (Li et al., 2021, https://arxiv.org/abs/2106.04632).

The context of an example is the subtitles of the whole clip, in the order of their file and as they
are spelt there (HTML entities too), whatever moment its text is about. VALUE keeps the labels of
its test splits to itself: `test` can be answered, and neither trained on nor scored. `held_out` is
the labelled test split of generated clips.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, field
from vlbench.data.readers.base import Reader, read_lines
from vlbench.errors import MissingError

Record = dict[str, Any]
Items = Callable[[Record, str, str], Iterator[Example]]
"""The examples of a record about a clip with such subtitles."""
UNLABELLED = "test"
SILENT = "[Subs] "
"""The subtitles of a clip in which nothing is said."""


class VideoReader(Reader):
    """Texts about clips: a JSON Lines file per split, and one with the subtitles of all clips."""

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "held_out", UNLABELLED)
    authors_names = {"clip-vit-b32": "clip-vit"}
    annotations: ClassVar[str]
    """The split's file below `video/ann`, with `{split}` in its name."""
    tests: ClassVar[tuple[str, ...]]
    """Files there of which the first that is there holds the unlabelled test split."""
    label: ClassVar[str]
    """The field that holds what is right."""
    source: ClassVar[str]
    """Where the clips come from: `tv`, `how2` or `yc2`."""

    @abstractmethod
    def items(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        """The examples of a record to evaluate on; without targets where it has no labels."""

    def files(self, split: str) -> list[Path]:
        """The split's file and the subtitles."""
        folder = self.root / "video" / "ann"
        subtitles = folder / f"{self.source}_subtitles.jsonl"
        if split != UNLABELLED:
            return [folder / self.annotations.format(split=split), subtitles]
        there = [folder / name for name in self.tests if (folder / name).is_file()]
        return [(there or [folder / self.tests[0]])[0], subtitles]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The items of all records of a split, in their order."""
        return self._examples(split, faults, self.items)

    def records(self, path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
        """The records of a split's file, each with what messages call it."""
        return read_lines(path, faults)

    def _examples(self, split: str, faults: Faults, items: Items) -> list[Example]:
        path, *subtitles = self.files(split)
        spoken: dict[str, str] = {}
        for file in subtitles:
            spoken |= read_subtitles(file, faults)
        faults.refuse()  # else every record about a faulty clip would be told too
        found: dict[str, Example] = {}
        for line, record in self.records(path, faults):
            with faults.of(path, line):
                clip = field(record, "vid_name", str)
                if subtitles and clip not in spoken:
                    raise RecordFault(f"no subtitles of clip {clip} in {subtitles[0].name}")
                for example in items(record, clip, spoken.get(clip, SILENT)):
                    if not example.targets and split != UNLABELLED:
                        raise RecordFault(f"'{self.label}' is missing: {example.id} has no label")
                    if example.id in found:
                        raise RecordFault(f"{example.id} is there twice")
                    found[example.id] = example
        return list(found.values())

    def image_path(self, image_id: str) -> Path:
        """The folder of a clip's frames, pictures whose names sort in the order of time."""
        folder = self.root / "video" / "frames" / self.source / image_id
        if not folder.is_dir():
            raise MissingError(f"{folder}: no such clip: it should be a folder of frames")
        return folder


def read_subtitles(path: Path, faults: Faults) -> dict[str, str]:
    """Clip -> `[Subs]` and what is said in it; of two records for a clip the later one holds."""
    spoken = {}
    for line, record in read_lines(path, faults):
        with faults.of(path, line):
            texts = [field(each, "text", str).strip() for each in field(record, "sub", list)]
            spoken[field(record, "vid_name", str)] = SILENT + " ".join(texts)
    return spoken
