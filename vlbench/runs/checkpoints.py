"""Training checkpoints: each named by its step and its own hash, so a damaged one is known."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vlbench.errors import DataError, is_out_of_memory
from vlbench.files import require_writable, write_atomically
from vlbench.runs.sums import hash_of

KEPT = 2
"""Where the disk damages the newest, the one before it counts."""
NAME = re.compile(r"step-(\d{9})-([0-9a-f]{16})\.pt")


class Checkpoints:
    """The checkpoints of a run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> list[Path]:
        """The newest first."""
        files = (file for file in self.folder.glob("step-*.pt") if NAME.fullmatch(file.name))
        return sorted(files, key=lambda file: file.name, reverse=True)

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write a training state and remove all but the one before it."""
        import torch

        content = io.BytesIO()  # torch hides errors of files that it writes itself
        torch.save(state, content)
        digits = hashlib.sha256(content.getbuffer()).hexdigest()[:16]
        name = f"step-{step:09d}-{digits}.pt"
        file = write_atomically(
            self.folder / name, lambda path: path.write_bytes(content.getbuffer())
        )
        for old in [other for other in self.files() if other != file][KEPT - 1 :]:
            old.unlink(missing_ok=True)
        return file

    def newest(self, say: Callable[[str], None]) -> tuple[dict[str, Any], Path] | None:
        """Return the newest usable state and its file; others are set aside, and `say` tells."""
        import torch

        for file in self.files():
            try:
                if not hash_of(file).startswith(file.name[15:31]):
                    raise DataError(f"{file.stat().st_size:,} bytes of another hash")
                return torch.load(file, map_location="cpu", weights_only=True), file
            except Exception as error:  # torch and the disk raise anything
                if is_out_of_memory(error):
                    raise
                self.set_aside(file, error, say)
        return None

    def set_aside(self, file: Path, error: Exception, say: Callable[[str], None]) -> None:
        """Rename a checkpoint that cannot be used, so that no attempt reads it again."""
        aside = file.with_name(f"{file.name}.refused")
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        say(f"{file}: damaged or not of this run, now {aside.name}: {reason}: going on without it")
        require_writable(file)
        file.rename(aside)

    def remove(self) -> None:
        """Remove the folder, which a finished run no longer needs."""
        if self.folder.exists():
            require_writable(self.folder)
            shutil.rmtree(self.folder)
