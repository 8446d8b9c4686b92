"""MSCOCO captions in the Karpathy split (`dataset_coco.json`); restval is part of train.

Captions are `raw` without the spaces and newlines around them; an image has five or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, field
from vlbench.data.readers.base import Reader, find_image, name_of, read_list

FOLDERS = ("train2014", "val2014")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the Karpathy file."""

    cocoid: int
    id: str
    split: str
    captions: tuple[tuple[int, str], ...]
    """(sentence id, caption)."""

    @property
    def folder(self) -> str:
        """The folder that the file's name tells; the split does not: restval lies in val2014."""
        return _folder(self.id)


class COCO(Reader):
    """One example per image; for training one per image and caption."""

    splits = ("train", "val", "test")

    def files(self, split: str) -> list[Path]:
        """The one Karpathy file."""
        return [karpathy_file(self.root)]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """One example per image; a model may learn any of its captions."""
        return [
            Example(
                id=str(picture.cocoid),
                text="",
                images=(picture.id,),
                targets={caption: 1.0 for _, caption in picture.captions},
                annotation={
                    "image_id": picture.cocoid,
                    "captions": [caption for _, caption in picture.captions],
                },
            )
            for picture in read_pictures(karpathy_file(self.root), faults)
            if picture.split == split
        ]

    def read_train(self, split: str) -> list[Example]:
        """One example per image and caption."""
        return self._read(split, self._sentences)

    def image_path(self, image_id: str) -> Path:
        """The file in the folder that the image id tells."""
        return coco_image(self.root, image_id)

    def _sentences(self, split: str, faults: Faults) -> list[Example]:
        return [
            Example(f"{picture.cocoid}-{sentence}", "", (picture.id,), {caption: 1.0})
            for picture in read_pictures(karpathy_file(self.root), faults)
            if picture.split == split
            for sentence, caption in picture.captions
        ]


def karpathy_file(root: Path) -> Path:
    """Where the Karpathy file lies."""
    return root / "COCO" / "dataset_coco.json"


def coco_image(root: Path, image_id: str) -> Path:
    """The file of a COCO image: `COCO/images/val2014/COCO_val2014_000000000042.jpg`."""
    told = _folder(image_id)
    folders = (told,) if told else FOLDERS
    return find_image([root / "COCO" / "images" / folder for folder in folders], image_id)


def read_pictures(path: Path, faults: Faults) -> Iterator[Picture]:
    """The images of a Karpathy file."""
    seen: set[int] = set()
    for position, record in enumerate(read_list(path, "images")):
        with faults.of(path, f"image {name_of(record, 'cocoid', position)}"):
            cocoid = field(record, "cocoid", int)
            if cocoid in seen:
                raise RecordFault("is there twice")
            seen.add(cocoid)
            split = field(record, "split", str)
            captions = tuple(
                (field(sentence, "sentid", int), field(sentence, "raw", str).strip())
                for sentence in field(record, "sentences", list)
            )
            if not captions:
                raise RecordFault("no captions")
            yield Picture(
                cocoid=cocoid,
                id=PurePosixPath(field(record, "filename", str)).stem,
                split="train" if split == "restval" else split,
                captions=captions,
            )


def _folder(image_id: str) -> str:
    parts = image_id.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == "COCO" else ""
