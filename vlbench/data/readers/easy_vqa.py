"""easy-VQA: questions about one coloured shape, 13 answers; its data are in a Python package.

The training questions of every tenth image are held out as `val`. There are no official ids: a
question is its position in the list of its part, a picture `train-12`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from vlbench.data.example import Example, Faults, RecordFault, excerpt
from vlbench.data.readers import base
from vlbench.errors import MissingError

SHAPES = ("circle", "rectangle", "triangle")
HELD_OUT = 10  # images whose number this divides are held out of training: 400 of 4,000


class EasyVQA(base.Reader):
    """Questions about a shape and its colour, one answer each."""

    splits = ("train", "val", "test")
    feature_places = ("features/{encoder}/easy-vqa",)
    needs_root = False

    @property
    def folder(self) -> Path:
        """The folder `data` of the installed package, which is not imported for it."""
        package = find_spec("easy_vqa")
        if package is None or package.origin is None:
            raise MissingError("easy-VQA is not installed. Install it with: pip install easy-vqa")
        return Path(package.origin).parent / "data"

    def files(self, split: str) -> list[Path]:
        return [self.folder / ("test" if split == "test" else "train") / "questions.json"]

    def examples(self, split: str, faults: Faults) -> base.Examples:
        [path] = self.files(split)
        for position, record in enumerate(base.read_list(path)):
            with faults.of(path, f"question number {position + 1}"):
                match record:
                    case [str(text), str(answer), int(image)]:
                        pass
                    case _:
                        raise RecordFault(f"should be question, answer, image: {excerpt(record)}")
                if split == "test" or (image % HELD_OUT == 0) == (split == "val"):
                    images, label = (f"{path.parent.name}-{image}",), {"label": answer}
                    family = "shape" if answer in SHAPES else "colour"
                    family = "yes/no" if answer in ("yes", "no") else family
                    yield Example(str(position), text, images, {answer: 1.0}, label, family)

    def image_path(self, image_id: str) -> Path:
        part, _, number = image_id.partition("-")
        return base.find_image([self.folder / part / "images"], number)
