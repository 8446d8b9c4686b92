"""A store that is being made, in `STORE.partial`: what was noted there outlives the process.

A journal has a line for each picture or clip whose features are on the disk. Who starts again goes
on behind it; a half-written end is cut off. `STORE` itself appears when all is there.
"""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from numpy.typing import ArrayLike

from vlbench.data.stores.npz import Npz
from vlbench.data.stores.own import FeatureStore
from vlbench.errors import DataError, UsageError
from vlbench.files import flush, write_atomically
from vlbench.running.lock import Lock, LockedError

SCHEMA = "vlbench.partial/1"
BEGUN, JOURNAL = "begun.json", "journal.jsonl"
ONLY_PARTIAL = (BEGUN, JOURNAL, "lock", "holder.json")
"""What a complete store does not have."""
FLUSH_SECONDS = 5.0
"""At most so much work is lost when the process is killed."""


class Done(NamedTuple):
    """A line of the journal."""

    id: str
    stamp: str
    """Of the file it was made from."""
    picture: str
    """Hash of the pixels."""


def partial_of(store: Path) -> Path:
    """Where a store lies while it is being made."""
    return store.with_name(f"{store.name}.partial")


class Partial(ABC):
    """Open it with `with`: one process at a time; features are added, then `finish`ed or left."""

    kind: str
    """What it is of: pictures or frames."""

    def __init__(self, store: Path, encoder: Mapping[str, Any], stamps: Mapping[str, str]) -> None:
        self.store = store
        self.folder = partial_of(store)
        self.begun = {"schema": SCHEMA, "kind": self.kind, "encoder": dict(encoder)}
        self.stamps = stamps
        self.done: list[Done] = []
        self._waiting: list[Done] = []
        self._flushed = time.monotonic()

    @abstractmethod
    def cut(self, rows: int) -> int:
        """Drop what was written behind that many rows; how many there are in truth."""

    @abstractmethod
    def write(self, ids: Sequence[str], features: ArrayLike) -> None:
        """Write features, in the order of ids."""

    @abstractmethod
    def sync(self) -> None:
        """Force what was written to the disk."""

    @abstractmethod
    def complete(self) -> None:
        """Write what makes a store of the folder."""

    @abstractmethod
    def open(self) -> FeatureStore | Npz:
        """The complete store."""

    def add(self, ids: Sequence[str], features: ArrayLike, pictures: Sequence[str]) -> None:
        """Write features of pictures with those pixel hashes, and note them before long."""
        self.write(ids, features)
        self._waiting += [
            Done(image, self.stamps[image], pixels)
            for image, pixels in zip(ids, pictures, strict=True)
        ]
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Note in the journal what was added; the features are on the disk first."""
        noted, self._waiting = self._waiting, []  # an interrupt must not note them twice
        self.sync()
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(each) + "\n" for each in noted)
            file.flush()
            os.fsync(file.fileno())
        self.done += noted
        self._flushed = time.monotonic()

    def finish(self) -> FeatureStore | Npz:
        """The store under its name."""
        self.flush()
        self.complete()
        self.folder.rename(self.store)
        for name in ONLY_PARTIAL:
            (self.store / name).unlink(missing_ok=True)
        flush(self.store.parent)
        return self.open()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held = ExitStack()
        try:
            self._held.enter_context(Lock(self.folder).acquire())
            self._begin()
        except LockedError:
            self.close()
            raise UsageError(f"{self.folder}: another process is at work on it.") from None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Note what is done, whatever ended the work."""
        try:
            if self._waiting:
                self.flush()
        finally:
            self.close()

    def close(self) -> None:
        """Let another process go on."""
        self._held.close()

    def _begin(self) -> None:
        """Go on where an earlier process was, if it did the same."""
        file = self.folder / BEGUN
        if not file.is_file():
            write_atomically(file, json.dumps(self.begun, indent=2) + "\n")
        begun = _document(file)
        if begun != self.begun:
            raise UsageError(
                f"{self.folder} was begun with {_told(begun)}, asked for {_told(self.begun)}. "
                "Delete it to begin anew, or name another --out."
            )
        noted = _journal(self.folder / JOURNAL)
        self.done = noted[: self.cut(len(noted))]
        text = "".join(json.dumps(each) + "\n" for each in self.done)
        write_atomically(self.folder / JOURNAL, text)
        changed = [each.id for each in self.done if self.stamps.get(each.id) != each.stamp]
        if changed:
            raise UsageError(
                f"{self.folder}: {len(changed):,} of its {self.kind} are gone or have changed "
                f"since, the first: {changed[0]}. Delete it to begin anew."
            )


def _document(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: cannot be read: {error}. Delete its folder.") from None
    return found


def _journal(file: Path) -> list[Done]:
    """The whole lines, each id once; one that was being written when the process died is none."""
    if not file.is_file():
        return []
    found: list[Done] = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            found.append(Done(*json.loads(line)))
        except (ValueError, TypeError):
            break
        if not line.endswith("\n"):
            found.pop()
    return found


def _told(begun: dict[str, Any]) -> str:
    encoder = begun.get("encoder") or {}
    name, said = encoder.get("name"), str(encoder.get("hash"))
    return f"{begun.get('kind')} and the encoder '{name}' ({said[:12]})"
