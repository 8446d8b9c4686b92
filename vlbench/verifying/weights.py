"""Where backbones lie here, and the hashes of their files; each is read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from vlbench.errors import MissingError
from vlbench.running.plan import weights_hash_of
from vlbench.running.spec import RunSpec


class Weights:
    """Finds the weights of runs, wherever their specs say that they lay."""

    def __init__(self) -> None:
        self._hash = cache(weights_hash_of)

    def hash_of(self, spec: RunSpec) -> str:
        """sha256 over the files of the backbone; MissingError where they are not here."""
        return self._hash(spec.backbone, self.place(spec), spec.tasks[0].visual)

    def place(self, spec: RunSpec) -> Path | None:
        """The folder that the run had, where it is here; None: the backbone's usual place.

        No key covers the folder's name. So a name that leads nowhere keeps nothing from being
        checked where the usual place has the run's files; MissingError where it has others.
        """
        path = Path(spec.backbone_path) if spec.backbone_path else None
        if path is None or path.is_dir():
            return path
        if self._hash(spec.backbone, None, spec.tasks[0].visual) != spec.backbone_hash:
            raise MissingError(f"{path}: no such folder")
        return None
