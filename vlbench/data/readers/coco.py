"""MSCOCO captions: the Karpathy split (`dataset_coco.json`), and the official caption files.

In the Karpathy split restval is part of train. Captions are `raw`, or the official `caption`,
without the spaces and newlines around them; an image has five or more, some of them twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vlbench.data.example import Example, Faults, RecordFault, field
from vlbench.data.readers.base import Reader, find_image, name_of, require_new
from vlbench.data.readers.json_text import read_list

FOLDERS = ("train2014", "val2014")
FOLDERS_2017 = ("train2017", "val2017", "test2017")
FEATURE_PLACES = ("features/{encoder}/COCO", "COCO/clip_features/data_clip_{authors}_att")
Captions = tuple[tuple[int, str], ...]
"""(sentence id, caption)."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image with its captions."""

    cocoid: int
    id: str
    split: str
    captions: Captions

    @property
    def folder(self) -> str:
        """The folder that the file's name gives; the split does not: restval lies in val2014."""
        return folder_of(self.id)


class COCO(Reader):
    """One example per image; for training one per image and caption."""

    splits = ("train", "val", "test", *FOLDERS)
    feature_places = FEATURE_PLACES

    def files(self, split: str) -> list[Path]:
        """The one Karpathy file, or the official captions of a half."""
        if split in FOLDERS:
            return [self.root / "COCO" / "annotations" / f"captions_{split}.json"]
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
            for picture in self._pictures(split, faults)
        ]

    def read_train(self, split: str) -> list[Example]:
        """One example per image and caption."""
        return self._read(split, self._sentences)

    def image_path(self, image_id: str) -> Path:
        """The file in the folder that the image id names."""
        return coco_image(self.root, image_id)

    def _sentences(self, split: str, faults: Faults) -> list[Example]:
        return [
            Example(f"{picture.cocoid}-{sentence}", "", (picture.id,), {caption: 1.0})
            for picture in self._pictures(split, faults)
            for sentence, caption in picture.captions
        ]

    def _pictures(self, split: str, faults: Faults) -> Iterator[Picture]:
        [path] = self.files(split)
        read = read_official if split in FOLDERS else read_pictures
        return (picture for picture in read(path, faults) if picture.split == split)


def karpathy_file(root: Path) -> Path:
    """Where the Karpathy file lies."""
    return root / "COCO" / "dataset_coco.json"


def coco_image(root: Path, image_id: str) -> Path:
    """The file of a COCO image: `COCO/images/val2014/COCO_val2014_000000000042.jpg`.

    Since 2017 COCO publishes it as `COCO/images/train2017/000000000042.jpg`: the number alone, and
    in splits that were drawn anew. Pictures may lie in `COCO/images` itself too.
    """
    folder, number = folder_of(image_id), image_id.rpartition("_")[2]
    folders = [*([folder] if folder else FOLDERS), *FOLDERS_2017, ""]
    both = [number, *(f"COCO_{half}_{number}" for half in FOLDERS)]
    names = [image_id, number] if folder else both
    return find_image([root / "COCO" / "images" / folder for folder in folders], *names)


def folder_of(image_id: str) -> str:
    """`COCO_val2014_000000000042` -> `val2014`; empty where the id names none."""
    parts = image_id.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == "COCO" else ""


def read_pictures(path: Path, faults: Faults) -> Iterator[Picture]:
    """The images of a Karpathy file."""
    seen: set[int] = set()
    for position, record in enumerate(read_list(path, "images")):
        with faults.of(path, f"image {name_of(record, 'cocoid', position)}"):
            cocoid = field(record, "cocoid", int)
            require_new(cocoid, seen)
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


def read_official(path: Path, faults: Faults) -> Iterator[Picture]:
    """The images of an official caption file, `captions_val2014.json`, in its order."""
    captions: dict[int, list[tuple[int, str]]] = {}
    for position, record in enumerate(read_list(path, "annotations")):
        with faults.of(path, f"caption {name_of(record, 'id', position)}"):
            caption = field(record, "id", int), field(record, "caption", str).strip()
            captions.setdefault(field(record, "image_id", int), []).append(caption)
    images = []
    for position, record in enumerate(read_list(path, "images")):
        with faults.of(path, f"image {name_of(record, 'id', position)}"):
            images.append((field(record, "id", int), field(record, "file_name", str)))
    if faults.texts:  # else what belongs to a faulty record would be listed as missing
        return
    for image, name in images:
        with faults.of(path, f"image {image}"):
            if image not in captions:
                raise RecordFault("no captions, or the image is there twice")
            half = path.stem.removeprefix("captions_")
            yield Picture(image, PurePosixPath(name).stem, half, tuple(captions.pop(image)))
    for image in captions:
        faults.add(path, f"image {image}", "has captions, but is not among the images")
