"""Our own stores: what a frozen encoder made of each picture or clip, memory-mapped.

A folder of shards `000000.npy`, (n, tokens, width) float16, and `index.jsonl`: the encoder, then a
line per shard that is on the disk whole, with `ids`, the `stamps` of the files and the hashes of
the pixels, `pictures`; at last `{"complete": true}`. So the index is the journal, too: a store that
is begun goes on behind its last line.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from errno import EMFILE, ENFILE
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vlbench.data.stores.base import Array, Store
from vlbench.errors import DataError, MissingError
from vlbench.files import append_line, remove_forgotten, write_atomically

SCHEMA = "vlbench.features/2"
INDEX = "index.jsonl"
MOST_OPEN_FILES = 1 << 16
CLIPS = "-clips"
"""Ends the name of an encoder of clips, frame by frame."""
Line = dict[str, Any]


class FeatureStore(Store):
    """The complete store in a folder; MissingError if there is none."""

    def __init__(self, path: Path) -> None:
        self.path, self.width = path, 0
        self.identity, self.lines, is_complete = read_index(path)
        if not (is_complete and self.lines):
            raise MissingError(f"{path}: is begun: the same extract-features command goes on.")
        self.encoder = self.identity.get("name", "").removesuffix(CLIPS) or None
        self.ids = {
            image: (shard, row)
            for shard, line in enumerate(self.lines)
            for row, image in enumerate(line["ids"])
        }
        if len(self.ids) != sum(len(line["ids"]) for line in self.lines):
            raise DataError(f"{path}: holds an id twice")
        self._shards: dict[int, Array] = {}
        self._most_shards = raise_open_files() // 8  # a suite has several stores
        self.width = self._shard(0).shape[2]

    def load(self, image: str) -> Array:
        shard, row = self.ids[image]
        features: Array = self._shard(shard)[row]
        return features

    def _shard(self, shard: int) -> Array:
        """(n, tokens, width), memory-mapped when first read; a map keeps its file open."""
        if shard not in self._shards:
            line = self.lines[shard]
            file = _shard_file(self.path, line["shard"])
            try:
                array = np.load(file, mmap_mode="r", allow_pickle=False).view(np.ndarray)
                is_fitting = array.ndim == 3 and len(array) == len(line["ids"])
                if not is_fitting or self.width not in (0, array.shape[2]):
                    raise ValueError(f"holds {array.dtype} {array.shape}")
            except (OSError, ValueError, EOFError) as error:
                if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
                    raise
                raise DataError(f"{file}: damaged: {error}. Delete it: it is made again.") from None
            if len(self._shards) >= self._most_shards:
                del self._shards[next(iter(self._shards))]
            self._shards[shard] = array
        return self._shards[shard]

    def fingerprint(self, ids: Iterable[str]) -> str:
        """sha256 over the encoder and the pictures' pixels: the same on every machine.

        The features themselves differ in the last bits between processors.
        """
        lines = [json.dumps(self.identity or None, sort_keys=True)]
        for image in sorted(set(ids)):
            shard, row = self.ids[image]
            line = self.lines[shard]
            lines.append(f"{image} {line.get('pictures', line['ids'])[row]}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def raise_open_files() -> int:
    """Let this process open as many files as the system allows it; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, MOST_OPEN_FILES) if hard != resource.RLIM_INFINITY else MOST_OPEN_FILES
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    with suppress(OSError, ValueError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def read_index(folder: Path) -> tuple[Line, list[Line], bool]:
    """The encoder, the lines of shards that are there, and whether they are all.

    What a kill tore is left out. MissingError where no store is begun.
    """
    lines = []
    try:
        for text in (folder / INDEX).read_text(encoding="utf-8").splitlines():
            lines.append(json.loads(text))
    except ValueError:
        pass
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(f"{folder}: no feature store: {INDEX} is missing") from None
    try:
        header, *shards = lines
        if header["schema"] != SCHEMA:
            raise ValueError(f"not of the schema {SCHEMA}")
        files = set(os.listdir(folder))
        kept = [s for s in shards if "ids" in s and _shard_file(folder, s["shard"]).name in files]
        is_complete = "complete" in lines[-1] and len(kept) == len(shards) - 1
        return dict(header["encoder"] or {}), kept, is_complete
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / INDEX}: damaged: {error}. Delete the store.") from None


def write_store(
    folder: Path,
    shards: Iterable[tuple[Mapping[str, Sequence[str]], ArrayLike]],
    encoder: Mapping[str, Any] | None = None,
    kept: Sequence[Line] = (),
) -> FeatureStore:
    """Write a store behind the shards that are kept: `{"ids": n ids}`, (n, tokens, width) each."""
    remove_forgotten(folder)
    lines = [{"schema": SCHEMA, "encoder": encoder}, *kept]
    write_atomically(folder / INDEX, "".join(f"{json.dumps(line)}\n" for line in lines))
    numbers = {line["shard"] for line in kept}
    free = (number for number in count() if number not in numbers)
    for number, (line, features) in zip(free, shards, strict=False):
        content = BytesIO()
        np.save(content, np.asarray(features))
        write_atomically(_shard_file(folder, number), content.getvalue(), is_flushed=False)
        append_line(folder / INDEX, {"shard": number, **line})
    append_line(folder / INDEX, {"complete": True})
    return FeatureStore(folder)


def _shard_file(folder: Path, number: int) -> Path:
    return folder / f"{int(number):06}.npy"
