"""A store of clips while it is being made: one archive per clip, in VALUE's layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vlbench.data.stores.foreign import NAMED
from vlbench.data.stores.npz import ABOUT, SUFFIX, Npz
from vlbench.data.stores.own import float16_rows
from vlbench.data.stores.partial import Partial
from vlbench.files import write_atomically

SCHEMA = "vlbench.clips/1"


class PartialClips(Partial):
    """`{clip}.npz` with `features`, (frames, width) float16; each is whole as soon as it is there.

    The features of a clip of T frames are (T, width), so the clips' stand in a list.
    """

    kind = "frames"

    def __init__(self, store: Path, encoder: Mapping[str, Any], stamps: Mapping[str, str]) -> None:
        super().__init__(store, encoder, stamps)
        self.frame_width: int = encoder["frame_width"]

    def cut(self, rows: int) -> int:
        """Nothing: an archive that is not noted is written again."""
        return rows

    def write(self, ids: Sequence[str], features: Any) -> None:
        """The features of each clip into its archive."""
        for clip, found in zip(ids, features, strict=True):
            shape = (len(found), self.frame_width)
            rows = float16_rows(found, shape, [clip] * len(found), self.store)
            write_atomically(self.folder / f"{clip}{SUFFIX}", partial(_save, rows=rows))

    def sync(self) -> None:
        """Nothing: every archive is on the disk."""

    def complete(self) -> None:
        """Write what encoder the features come from."""
        stamps = dict(sorted((each.id, each.stamp) for each in self.done))
        about = {"schema": SCHEMA, "encoder": self.begun["encoder"], "stamps": stamps}
        write_atomically(self.folder / ABOUT, json.dumps(about, indent=2) + "\n")

    def open(self) -> Npz:
        """The store that it became."""
        return Npz(self.store)


def _save(path: Path, rows: Any) -> None:
    arrays: dict[str, Any] = {NAMED: rows}
    with path.open("wb") as file:
        np.savez(file, **arrays)
