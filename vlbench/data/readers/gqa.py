"""GQA, the balanced questions: an object from question id to record.

Question ids are strings: `01827492` and `1827492` are two questions.
"""

from __future__ import annotations

from pathlib import Path

from vlbench.data.example import Example
from vlbench.data.faults import Faults, excerpt, field
from vlbench.data.readers.base import Reader, find_image, read_json
from vlbench.errors import DataError


class GQA(Reader):
    """Compositional questions about scenes, one answer each."""

    splits = ("train", "val", "testdev")

    def files(self, split: str) -> list[Path]:
        """The split's balanced questions."""
        return [self.root / "GQA" / f"{split}_balanced_questions.json"]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The balanced questions of a split: those that the official accuracy is over."""
        [path] = self.files(split)
        table = read_json(path)
        if not isinstance(table, dict):
            raise DataError(f"{path}: should be an object by question id, found {excerpt(table)}")
        examples = []
        for question, record in table.items():
            with faults.of(path, f"question {question}"):
                text = field(record, "question", str)
                if not record.get("isBalanced", True):
                    continue
                types = record.get("types")
                family = types.get("detailed", "") if isinstance(types, dict) else ""
                image = field(record, "imageId", str)
                answer = field(record, "answer", str)
                examples.append(Example(question, text, (image,), {answer: 1.0}, record, family))
        return examples

    def image_path(self, image_id: str) -> Path:
        """The file in the one folder of images."""
        return find_image([self.root / "GQA" / "images"], image_id)
