"""MSCOCO captions: the Karpathy split (`dataset_coco.json`), and the official caption files.

In the Karpathy split restval is part of train. An image has five captions or more, some twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vlbench.data.example import Example, Faults, RecordFault, field
from vlbench.data.readers import base

FOLDERS = ("train2014", "val2014")
KARPATHY = "COCO/dataset_coco.json"
KARPATHY_SPLITS = ("train", "val", "test")
FOLDERS_2017 = ("train2017", "val2017", "test2017")
FEATURE_PLACES = ("features/{encoder}/COCO", "COCO/clip_features/data_clip_{authors}_att")


class Picture(NamedTuple):
    """An image with its captions."""

    cocoid: int
    id: str
    split: str
    captions: list[tuple[int, str]]  # with sentence ids

    @property
    def annotation(self) -> base.Record:
        """What a caption is scored by."""
        return {"image_id": self.cocoid, "captions": [caption for _, caption in self.captions]}


class COCO(base.Reader):
    """One example per image; for training one per image and caption."""

    splits = (*KARPATHY_SPLITS, *FOLDERS)
    feature_places = FEATURE_PLACES

    def files(self, split: str) -> list[Path]:
        official = f"COCO/annotations/captions_{split}.json"
        return [self.root / (official if split in FOLDERS else KARPATHY)]

    def examples(self, split: str, faults: Faults) -> base.Examples:
        for picture in self._pictures(split, faults):
            targets = {caption: 1.0 for _, caption in picture.captions}
            yield Example(str(picture.cocoid), "", (picture.id,), targets, picture.annotation)

    def training_examples(self, split: str, faults: Faults) -> base.Examples:
        for picture in self._pictures(split, faults):
            for sentence, caption in picture.captions:
                yield Example(f"{picture.cocoid}-{sentence}", "", (picture.id,), {caption: 1.0})

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        read = read_karpathy if is_karpathy(path) else _read_official
        return ((str(picture.cocoid), picture.annotation) for picture in read(path, faults))

    def _pictures(self, split: str, faults: Faults) -> Iterator[Picture]:
        read = _read_official if split in FOLDERS else read_karpathy
        return (p for p in read(self.files(split)[0], faults) if p.split == split)

    def image_path(self, image_id: str) -> Path:
        return coco_image(self.root, image_id)


def is_karpathy(path: Path) -> bool:
    """Whether it is a Karpathy file, by its first image."""
    first = next(base.read_list(path, "images"), None)
    return isinstance(first, dict) and "sentences" in first


def coco_image(root: Path, image_id: str) -> Path:
    """The file of a COCO image: `COCO/images/val2014/COCO_val2014_000000000042.jpg`, or as since
    2017 `train2017/000000000042.jpg`, in splits that were drawn anew, or in `COCO/images` itself.
    """
    folder, number = folder_of(image_id), image_id.rpartition("_")[2]
    folders = [*([folder] if folder else FOLDERS), *FOLDERS_2017, ""]
    both = [number, *(f"COCO_{half}_{number}" for half in FOLDERS)]
    names = [image_id, number] if folder else both
    return base.find_image([root / "COCO" / "images" / folder for folder in folders], *names)


def folder_of(image_id: str) -> str:
    """`COCO_val2014_000000000042` -> `val2014`; the split tells it not: restval lies there too."""
    parts = image_id.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == "COCO" else ""


def read_karpathy(path: Path, faults: Faults) -> Iterator[Picture]:
    """The images of a Karpathy file."""
    seen: set[int] = set()
    for where, record in base.read_named(path, "image", "cocoid", "images"):
        with faults.of(path, where):
            cocoid, split = field(record, "cocoid", int), field(record, "split", str)
            base.require_new(cocoid, seen)
            captions = [
                (field(sentence, "sentid", int), field(sentence, "raw", str).strip())
                for sentence in field(record, "sentences", list)
            ]
            if not captions:
                raise RecordFault("no captions")
            name = PurePosixPath(field(record, "filename", str)).stem
            yield Picture(cocoid, name, "train" if split == "restval" else split, captions)


def _read_official(path: Path, faults: Faults) -> Iterator[Picture]:
    """The images that an official file, `captions_val2014.json`, has captions of."""
    half = path.stem.removeprefix("captions_")
    captions: dict[int, list[tuple[int, str]]] = {}
    for where, record in base.read_named(path, "caption", "id", "annotations"):
        with faults.of(path, where):
            caption = field(record, "id", int), field(record, "caption", str).strip()
            captions.setdefault(field(record, "image_id", int), []).append(caption)
    for image, texts in captions.items():
        yield Picture(image, f"COCO_{half}_{image:012d}", half, texts)
