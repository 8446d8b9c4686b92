"""easy-VQA: questions about one coloured shape, 13 answers; comes as a Python package.

`ROOT/easy-vqa`, laid out as the package's `data`, else the package: a list of `[question, answer,
image]` per part. The training questions of every tenth image are held out as `val`.
"""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from vlbench.data.example import Example, Faults, RecordFault, excerpt
from vlbench.data.readers import base
from vlbench.errors import MissingError

SHAPES = ("circle", "rectangle", "triangle")
HELD_OUT = 10
"""Images whose number this divides are held out of training: 400 of 4,000."""


class EasyVQA(base.Reader):
    """Questions about a shape and its colour, one answer each."""

    splits = ("train", "val", "test")
    feature_places = ("features/{encoder}/easy-vqa",)
    is_packaged = True

    @cached_property
    def folder(self) -> Path:
        """The data's folder below the root, else the installed package's, else that of the root."""
        own = self.root / "easy-vqa"
        return own if own.is_dir() else package_data() or own

    def files(self, split: str) -> list[Path]:
        return [self.folder / ("test" if split == "test" else "train") / "questions.json"]

    def missing_files(self, split: str) -> list[Path]:
        missing = super().missing_files(split)
        if missing and not self.folder.is_dir():
            raise MissingError(
                f"{self.folder}: no such folder, and the package easy-vqa, which holds the data, "
                "is not installed. Install it with: pip install easy-vqa"
            )
        return missing

    def examples(self, split: str, faults: Faults) -> base.Examples:
        [path] = self.files(split)
        for position, record in enumerate(base.read_list(path)):
            with faults.of(path, f"question number {position + 1}"):
                match record:
                    case [str(text), str(answer), int(image)]:
                        pass
                    case _:
                        raise RecordFault(
                            "should be [question, answer, image number], found " + excerpt(record)
                        )
                if split == "test" or (image % HELD_OUT == 0) == (split == "val"):
                    images, label = (f"{path.parent.name}-{image}",), {"label": answer}
                    family = "shape" if answer in SHAPES else "colour"
                    family = "yes/no" if answer in ("yes", "no") else family
                    yield Example(str(position), text, images, {answer: 1.0}, label, family)

    def image_path(self, image_id: str) -> Path:
        part, _, number = image_id.partition("-")
        return base.find_image([self.folder / part / "images"], number)


def package_data() -> Path | None:
    """The folder `data` of the installed package, which is not imported for it."""
    package = find_spec("easy_vqa")
    folders = package and package.submodule_search_locations
    return Path(next(iter(folders))) / "data" if folders else None
