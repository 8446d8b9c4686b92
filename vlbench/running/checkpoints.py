"""Training checkpoints: each named by its step and its own hash, so a damaged one is known."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlbench.files import write_atomically

KEPT = 2
"""The newest may be damaged by what the disk does; the one before it is there then."""
NAME = re.compile(r"step-(\d{9})-([0-9a-f]{16})\.pt")


class Checkpoints:
    """The checkpoints of a run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> list[Path]:
        """The newest first."""
        return sorted(
            (file for file in self.folder.glob("step-*.pt") if NAME.fullmatch(file.name)),
            key=lambda file: file.name,
            reverse=True,
        )

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Keep a training state; older ones go."""
        import torch

        def write(path: Path) -> Path:
            try:
                with path.open("wb") as file:  # of what it opens itself torch hides the errors
                    torch.save(state, file)
            except RuntimeError as error:
                raise _said_by_disk(error) from None
            return self.folder / f"step-{step:09d}-{_hash(path)}.pt"

        self.folder.mkdir(parents=True, exist_ok=True)
        file = write_atomically(self.folder / "step", write)
        for old in [each for each in self.files() if each != file][KEPT - 1 :]:
            old.unlink(missing_ok=True)
        return file

    def newest(self, say: Callable[[str], None]) -> tuple[dict[str, Any], Path] | None:
        """The newest state that is whole, and its file; damaged ones are told and removed."""
        import torch

        for file in self.files():
            match = NAME.fullmatch(file.name)
            assert match is not None
            if _hash(file) == match[2]:
                state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
                return state, file
            say(f"{file}: damaged, {file.stat().st_size:,} bytes: going on without it")
            with suppress(OSError):
                file.unlink()
        return None

    def remove(self) -> None:
        """What a finished run no longer needs."""
        if self.folder.exists():
            shutil.rmtree(self.folder)


def _said_by_disk(error: BaseException) -> BaseException:
    """The system's own error, where torch has put one of its own around it."""
    said: BaseException | None = error
    while said is not None and not isinstance(said, OSError):
        said = said.__context__
    return said or error


def _hash(path: Path) -> str:
    """16 hex digits of the file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
