"""A whole mini edition without its pictures, and what each picture would have shown."""

from __future__ import annotations

import fcntl
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from vlbench.data.example import Example
from vlbench.data.mini import write
from vlbench.data.mini.world import Scene
from vlbench.data.readers import load_reader
from vlbench.files import write_atomically

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
        return [example for part in PARTS for example in self.examples[task, part]]


@pytest.fixture(scope="session")
def edition(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Edition:
    """The embedded edition: seed 0 in its full size, made once for all processes of a session."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder if worker_id == "master" else folder.parent
    with (folder / "edition.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = folder / "edition.pickle"
        if not kept.is_file():
            write_atomically(kept, pickle.dumps(_edition(tmp_path_factory.mktemp("edition"))))
        return pickle.loads(kept.read_bytes())


def _edition(root: Path) -> Edition:
    scenes: dict[str, Scene] = {}

    def note(scene: Scene, path: Path) -> None:
        assert path.stem not in scenes
        scenes[path.stem] = scene

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_save", note)
        write.write_mini(root, seed=0)
    examples = {}
    for task, splits in READERS.items():
        reader = load_reader(task, root)
        for part, split in zip(PARTS, splits.split(), strict=True):
            examples[task, part] = reader.read(split)
    return Edition(scenes, examples)
