"""What of a task's data is fetched, and fetching it: several files at once, into a data root.

A file has its final name only once it is whole: sizes and checksums hold, an archive is unpacked.
What has a final name is never fetched again or overwritten.
"""

from __future__ import annotations

import hashlib
import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vlbench.cards import load_task
from vlbench.cards.download import Download
from vlbench.cards.schema import TaskCard
from vlbench.data.downloads.fetch import (
    Say,
    Stopped,
    Transfer,
    announced_bytes,
    is_plain_address,
    part_of,
)
from vlbench.data.downloads.unpack import unpack
from vlbench.errors import DataError, MissingError, UsageError, explain
from vlbench.files import write_atomically
from vlbench.lock import Lock, LockedError
from vlbench.text import format_bytes

PARTS = ".downloads"
"""Folder of parts below the data root."""
WEB_PAGES = (b"<!doctype", b"<html")
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 1.0
"""How long a stopped transfer may take to end."""
MEGABYTE = 1_000_000
Count = Callable[[int, int], None]


@dataclass
class Item:
    """One download of some tasks, and whether it is here."""

    download: Download
    root: Path
    mirror: str
    page: str
    """Where the file is published."""
    tasks: list[str] = field(default_factory=list)
    is_fetched: bool = False

    @property
    def url(self) -> str:
        """The address to fetch from: host and path below the mirror, if there is one."""
        address = urlsplit(self.download.url)
        mirrored = f"{self.mirror.rstrip('/')}/{address.netloc}{address.path}"
        return mirrored if self.mirror else self.download.url

    @property
    def targets(self) -> dict[str, Path]:
        """Member of the archive -> final path; a plain file's member is empty."""
        paths = self.download.unpack or {"": self.download.to}
        return {member: self.root / path for member, path in paths.items()}

    @property
    def missing(self) -> dict[str, Path]:
        """Those of `targets` that are not here."""
        return {member: path for member, path in self.targets.items() if not path.exists()}

    def row(self) -> dict[str, Any]:
        """The item as `vlbench data get` prints it."""
        state = "fetched" if self.is_fetched else "missing" if self.missing else "here"
        paths = [*(self.download.unpack.values() or [self.download.to])]
        published = {
            name: getattr(self.download, name) or None for name in ("size_bytes", "sha256")
        }
        return {"tasks": self.tasks, "state": state, **published, "url": self.url, "to": paths}


def list_items(cards: Iterable[TaskCard], root: Path, mirror: str = "") -> list[Item]:
    """List what the tasks' cards say is fetched, a file that several need once."""
    if mirror and not is_plain_address(mirror):
        raise UsageError(
            f"--mirror {mirror}: should be an http or https address without a name and password."
        )
    items: dict[str, Item] = {}
    for card in cards:
        for source in (card, *map(load_task, card.downloads_of)):
            for download in source.downloads:
                new = Item(download, root, mirror, source.published)
                item = items.setdefault(download.url, new)
                if card.name not in item.tasks:
                    item.tasks.append(card.name)
    return list(items.values())


def get(items: Sequence[Item], root: Path, parallel: int, count: Count, say: Say) -> None:
    """Fetch what is missing, several files at once; what fails is one error at the end."""
    if not (wanted := [item for item in items if item.missing]):
        return
    parts = root / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    with _locked(parts):
        fetching = _Fetching(wanted, parts, min(parallel, len(wanted)))
        fetching.check_room(root)
        fetching.run(count, say)


@contextmanager
def _locked(parts: Path) -> Iterator[None]:
    """Hold the lock of the folder of parts, which two commands would write at once."""
    lock = Lock(parts)
    try:
        with lock.acquire():
            yield
    except LockedError:
        holder = lock.holder()
        who = f" (process {holder.get('pid')} on {holder.get('host')})" if holder else ""
        raise MissingError(
            f"{parts}: another `vlbench data get` fetches into this root{who}: wait for its end."
        ) from None


class _Fetching:
    """The transfers of one command, in threads that end with it."""

    def __init__(self, items: Sequence[Item], parts: Path, parallel: int) -> None:
        self._parallel = parallel
        self._stop = threading.Event()
        self._messages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._failures: list[str] = []
        self._bugs: list[Exception] = []
        self._progress = (0, 0)
        self._transfers = [
            (
                item,
                Transfer(
                    item.url,
                    part_of(parts, item.download.url),
                    item.download.size_bytes,
                    bool(item.download.sha256),
                    self._stop,
                    self._messages.put,
                ),
            )
            for item in items
        ]
        with ThreadPoolExecutor(parallel) as pool:
            sizes = pool.map(
                lambda item: item.download.size_bytes or announced_bytes(item.url), items
            )
            self._sizes = [size or 0 for size in sizes]

    def check_room(self, root: Path) -> None:
        """Refuse to begin where the disk cannot hold what comes, as far as sizes are known.

        Until it has its final name a file stands twice; archives unpack to their own size at least.
        """
        beside = sum(sorted(self._sizes)[-self._parallel :])
        needed = sum(self._sizes) + beside - sum(t.received for _, t in self._transfers)
        free = shutil.disk_usage(root).free
        if needed > free:
            raise MissingError(
                f"{root}: {format_bytes(needed)} are needed at least, {format_bytes(beside)} of "
                f"them until files have their final names; {format_bytes(free)} are free. Make "
                "room, or name a root on another disk: --root DIR"
            )

    def run(self, count: Count, say: Say) -> None:
        """Do all transfers; Ctrl-C keeps their parts."""
        waiting = iter(self._transfers)
        take = threading.Lock()

        def work() -> None:
            while not self._stop.is_set():
                with take:
                    pair = next(waiting, None)
                if pair is None:
                    return
                self._do(*pair)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self._parallel)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(POLL_SECONDS)
                    self._report(count, say, is_over=False)
        except BaseException:
            self._stop.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
            say("What has come is kept: the same command goes on with it.")
            raise
        self._report(count, say, is_over=True)
        if self._bugs:
            raise self._bugs[0]
        if self._failures:
            raise MissingError(
                "\n".join(self._failures) + "\nThe same command goes on with what is missing; "
                "--mirror ADDRESS fetches it from copies elsewhere."
            )

    def _report(self, count: Count, say: Say, is_over: bool) -> None:
        """Pass on messages, and the megabytes that have come where they are others than before."""
        with suppress(queue.Empty):
            while True:
                say(self._messages.get_nowait())
        received = [transfer.received for _, transfer in self._transfers]
        total = sum(map(max, received, self._sizes))
        done = sum(received) // MEGABYTE
        progress = (done, max(total // MEGABYTE, done + (not is_over)))
        if progress != self._progress:
            self._progress = progress
            count(*progress)

    def _do(self, item: Item, transfer: Transfer) -> None:
        """Fetch and keep one file; a failure is noted, and the other files go on."""
        try:
            transfer.run()
            self._keep(item, transfer)
            item.is_fetched = True
            self._messages.put(f"{transfer.shown}: fetched, {format_bytes(transfer.received)}")
        except Stopped:
            return
        except Exception as error:
            if (explained := explain(error, item.root)) is None:
                self._bugs.append(error)
            else:
                page = f" The official page: {item.page}" if item.page else ""
                self._failures.append(f"{str(explained).removesuffix('.')}.{page}")

    def _keep(self, item: Item, transfer: Transfer) -> None:
        """Check a whole file and give it, or what it holds, the final name."""
        part, published = transfer.part, item.download.sha256

        def copy(beside: Path) -> None:
            shutil.copyfile(part, beside)

        try:
            with part.open("rb") as file:
                head = file.read(64).lstrip().lower()
                file.seek(0)
                sha256 = hashlib.file_digest(file, "sha256").hexdigest() if published else ""
            if not head or head.startswith(WEB_PAGES):
                raise DataError(f"{'a web page' if head else 'an empty file'} came instead")
            if sha256 != published:
                raise DataError(f"another file came: its sha256 is {sha256}, published {published}")
            if item.download.unpack:
                self._messages.put(f"{transfer.shown}: unpacking")
                unpack(part, item.missing, self._stop)
            else:
                write_atomically(item.targets[""], copy)
        except DataError as error:
            transfer.discard()
            raise DataError(f"{transfer.url}: {error}; nothing of it was taken") from None
        transfer.remove()
