"""A server on loopback, and what is fetched from it into a root of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from tests.data.downloads.server import Release, serving
from vlbench.cards.download import Download
from vlbench.cards.schema import Splits, TaskCard
from vlbench.data.downloads import fetch
from vlbench.data.downloads import get as downloads
from vlbench.data.downloads.get import PARTS, get, list_items

CONTENT = Random(0).randbytes(100_000)


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    monkeypatch.setattr(fetch, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(downloads, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(downloads, "MEGABYTE", 1)  # progress is seen byte by byte
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files["/data/a.bin"] = CONTENT
        yield server


@dataclass
class Fetcher:
    """`vlbench data get` of one task whose card names the server's files."""

    release: Release
    root: Path
    downloads: list[Download] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, path: str = "/data/a.bin", **fields: object) -> Fetcher:
        fields = fields or {"to": "a.bin", "sha256": sha256(CONTENT).hexdigest()}
        download = {"url": self.release.url + path, **fields}
        self.downloads.append(Download.model_validate(download))
        return self

    def get(
        self, parallel: int = 2, count: Callable[[int, int], None] = lambda *_: None
    ) -> list[str]:
        """Fetch; return the states of the files."""
        splits = Splits(train=("a",), val=("b",), test=("c",))
        card = TaskCard(
            name="toy", title="Toy", reader="r", metric="m", published="https://toy.example/page",
            splits={"full": splits}, downloads=tuple(self.downloads),
        )  # fmt: skip
        items = list_items([card], self.root)
        get(items, self.root, parallel, count, self.notes.append)
        return [item.row()["state"] for item in items]

    def left(self) -> list[str]:
        """All files below the root but those of the lock."""
        files = (file.relative_to(self.root).as_posix() for file in self.root.rglob("*"))
        folders = {PARTS, f"{PARTS}/lock"}
        return sorted(name for name in files if name not in folders)

    def parts(self) -> list[Path]:
        """What has come of files that are not whole."""
        return sorted((self.root / PARTS).glob("*.part"))


@pytest.fixture
def fetcher(release: Release, tmp_path: Path) -> Fetcher:
    return Fetcher(release, tmp_path / "root")
