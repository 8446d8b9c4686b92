"""Our own store of pictures while it is being made: `features.npy` grows row by row."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import ArrayLike

from vlbench.data.stores.own import HEADER_BYTES, FeatureStore, float16_rows, header, index_of
from vlbench.data.stores.partial import Partial
from vlbench.files import flush


class PartialPictures(Partial):
    """Rows of (tokens, width) float16 in the order in which they were added."""

    kind = "pictures"

    def __init__(self, store: Path, encoder: Mapping[str, Any], stamps: Mapping[str, str]) -> None:
        super().__init__(store, encoder, stamps)
        self.shape: tuple[int, int] = (encoder["tokens"], encoder["width"])
        self._file: BinaryIO | None = None

    @property
    def features(self) -> BinaryIO:
        """The growing file, open at its end."""
        if self._file is None:
            path = self.folder / "features.npy"
            path.touch()
            self._file = path.open("r+b")
            self._file.write(header(0, self.shape))
            self._file.seek(0, os.SEEK_END)
        return self._file

    def cut(self, rows: int) -> int:
        """Cut the file behind the rows that are noted; a shorter file has fewer."""
        tokens, width = self.shape
        row_bytes = tokens * width * 2
        there = (self.features.tell() - HEADER_BYTES) // row_bytes
        kept = min(rows, there)
        self.features.truncate(HEADER_BYTES + kept * row_bytes)
        self.features.seek(0, os.SEEK_END)
        return kept

    def write(self, ids: Sequence[str], features: ArrayLike) -> None:
        """(n, tokens, width) features of n pictures."""
        shape = (len(ids), *self.shape)
        self.features.write(float16_rows(features, shape, ids, self.store).tobytes())

    def sync(self) -> None:
        """Force the rows to the disk."""
        self.features.flush()
        os.fsync(self.features.fileno())

    def complete(self) -> None:
        """Write the number of rows into the header, and the index."""
        self.features.seek(0)
        self.features.write(header(len(self.done), self.shape))
        self.sync()
        index = index_of(
            self.shape,
            [each.id for each in self.done],
            encoder=self.begun["encoder"],
            stamps=[each.stamp for each in self.done],
            pictures=[each.picture for each in self.done],
        )
        path = self.folder / "index.json"
        path.write_text(json.dumps(index), encoding="utf-8")
        flush(path)

    def open(self) -> FeatureStore:
        """The store that it became."""
        return FeatureStore.open(self.store)

    def close(self) -> None:
        """Let another process go on."""
        if self._file is not None:
            self._file.close()
        super().close()
