"""Golden pairs to compare, and copies of them to spoil."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tools.parity.checks import check_folder, list_goldens
from tools.parity.outcome import Outcome

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


@pytest.fixture(scope="session")
def golden_folder(shared_folder: Path) -> Path:
    return shared_folder / "golden" / "methods"


def compare(folder: Path) -> list[Outcome]:
    return list(check_folder(folder, list_goldens(folder).names))


class Copy:
    """A folder with copies of golden pairs."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source
        self.folder = folder

    def take(self, *names: str) -> None:
        for name in names:
            for suffix in (".json", ".safetensors"):
                target = self.folder / f"{name}{suffix}"
                shutil.copyfile(self.source / f"{name}{suffix}", target)  # not its permissions

    def edit(self, name: str, change: Change, new_name: str = "") -> None:
        """Take a pair and change its facts and tensors."""
        self.take(name)
        files = [self.folder / f"{name}{suffix}" for suffix in (".json", ".safetensors")]
        facts, tensors = json.loads(files[0].read_text()), load_file(files[1])
        change(facts, tensors)
        for file in files:
            file.unlink()
        new = new_name or name
        (self.folder / f"{new}.json").write_text(json.dumps(facts))
        save_file(tensors, self.folder / f"{new}.safetensors")

    def outcome(self) -> Outcome:
        """Of the one golden in the folder."""
        (outcome,) = compare(self.folder)
        return outcome


@pytest.fixture
def copy(golden_folder: Path, tmp_path: Path) -> Copy:
    return Copy(golden_folder, tmp_path)
