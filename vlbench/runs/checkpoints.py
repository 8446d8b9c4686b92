"""Training checkpoints: each named by its step and its own hash, so a damaged one is known."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlbench.errors import is_out_of_memory
from vlbench.files import require_writable, write_atomically

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
                raise _disk_error(error) from None
            return self.folder / f"step-{step:09d}-{_hash(path)}.pt"

        self.folder.mkdir(parents=True, exist_ok=True)
        file = write_atomically(self.folder / "step", write)
        for old in [other for other in self.files() if other != file][KEPT - 1 :]:
            old.unlink(missing_ok=True)
        return file

    def newest(self, say: Callable[[str], None]) -> tuple[dict[str, Any], Path] | None:
        """The newest state that is whole, and its file.

        Damaged ones are told and removed; whole ones that torch refuses are told and set aside.
        """
        import torch

        for file in self.files():
            match = NAME.fullmatch(file.name)
            assert match is not None
            try:
                if _hash(file) == match[2]:
                    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
                    return state, file
            except Exception as error:  # whatever torch meets in a file
                if is_out_of_memory(error):
                    raise
                self.set_aside(file, error, say)
                continue
            say(f"{file}: damaged, {file.stat().st_size:,} bytes: going on without it")
            require_writable(file)
            with suppress(OSError):
                file.unlink()
        return None

    def set_aside(self, file: Path, error: Exception, say: Callable[[str], None]) -> None:
        """Give a checkpoint that cannot be used another name, under which nobody looks for it."""
        aside = file.with_name(f"{file.name}.refused")
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        say(f"{file}: cannot be used: {reason}: it is now {aside.name}, going on without it")
        require_writable(file)
        file.rename(aside)

    def remove(self) -> None:
        """What a finished run no longer needs."""
        if self.folder.exists():
            require_writable(self.folder)
            shutil.rmtree(self.folder)


def _disk_error(error: BaseException) -> BaseException:
    """The system's own error, where torch has put one of its own around it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return cause or error


def _hash(path: Path) -> str:
    """16 hex digits of the file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
