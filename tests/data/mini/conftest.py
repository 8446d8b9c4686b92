"""A whole mini edition without its pictures, and what each picture would have shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from vlbench.data.example import Example
from vlbench.data.mini import write
from vlbench.data.mini.world import Scene
from vlbench.data.readers import load_reader

PARTS = ("train", "val", "test")
READERS = {"vqav2": "train val test", "gqa": "train val testdev", "nlvr2": "train dev test1"}
READERS["coco"] = READERS["vqav2"]


@dataclass(frozen=True)
class Edition:
    """The examples as the official readers give them: (task, part) -> list; parts as in `world`."""

    scenes: dict[str, Scene]
    """Image id -> what is shown."""
    examples: dict[tuple[str, str], list[Example]]

    def scenes_of(self, example: Example) -> list[Scene]:
        return [self.scenes[image] for image in example.images]

    def all(self, task: str) -> list[Example]:
        return [each for part in PARTS for each in self.examples[task, part]]


@pytest.fixture(scope="session")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Edition:
    """The embedded edition: seed 0 in its full size."""
    root: Path = tmp_path_factory.mktemp("edition")
    scenes: dict[str, Scene] = {}

    def note(scene: Scene, path: Path) -> None:
        assert path.stem not in scenes
        scenes[path.stem] = scene

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_save", note)
        (root / "nlvr2").mkdir()  # usually made by the first picture
        write.write_mini(root, seed=0)
    examples = {}
    for task, splits in READERS.items():
        reader = load_reader(task, root)
        for part, split in zip(PARTS, splits.split(), strict=True):
            examples[task, part] = reader.read(split)
    return Edition(scenes, examples)
