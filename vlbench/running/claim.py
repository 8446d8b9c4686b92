"""Who does a run: a lock that ends with its process, and a heartbeat that other machines see.

On one machine the lock decides: the system lets go of it when its holder dies. Some shared file
systems keep locks to the machine they were taken on, or know none. So the holder also writes its
name beside the lock and touches that file every few seconds; one of another machine counts as dead
when nothing has touched it for long enough, by the clock of whoever watches, so that clocks that
differ or jump do not matter.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from vlbench.errors import DataError
from vlbench.files import guarded, machine, read_object, write_atomically
from vlbench.times import now

BEAT_SECONDS = 5.0
DEAD_SECONDS = 120.0
"""File systems may show a touch only after a minute."""
POLL_SECONDS = 0.5
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
TRIES = 5
"""Whoever only looks holds the lock for a moment."""


class HeldError(Exception):
    """Another process holds the run."""


class Claim:
    """The claim on one run folder; any number may be made, one is held."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "lock"
        self.holder_file = folder / "holder.json"
        self._token = ""
        """Stands in `holder.json` while the run is this one's."""

    @contextmanager
    def held(
        self,
        where: str = "",
        waiting: Callable[[], object] | None = None,
        beat: Callable[[bool], object] = lambda _: None,
        watch: Watch | None = None,
    ) -> Iterator[None]:
        """Hold the run; without `waiting` raise HeldError at once where another process holds it.

        `beat` is called every second by a thread, told whether the run is still this one's. Once it
        is not, whatever would be written in the folder raises HeldError instead.
        """
        watch = watch or Watch(self)
        is_told = False
        while (file := self._taken(watch)) is None:
            if waiting is None:
                raise HeldError
            if not is_told:
                waiting()
            is_told = True
            time.sleep(POLL_SECONDS)
        token = secrets.token_hex(8)
        over = threading.Event()
        with file:
            try:
                self._sign(where, token)
                self._token = token
                beating = threading.Thread(
                    target=self._beat, args=(over, beat), daemon=True, name="heartbeat"
                )
                beating.start()
                with guarded(self.folder, self._require):
                    yield
            finally:
                over.set()
                self._token = ""
                if self.holder().get("token") == token:
                    self.holder_file.unlink(missing_ok=True)

    def holder(self) -> dict[str, Any]:
        """Who says to hold the run: host, pid, where, since; empty where nobody does."""
        with suppress(DataError):
            return read_object(self.holder_file)
        return {}

    @property
    def is_lost(self) -> bool:
        """Whether this one held the run, was taken for dead, and it became another one's."""
        try:
            return self._token.encode() not in self.holder_file.read_bytes()
        except FileNotFoundError:
            return bool(self._token)
        except OSError:  # a shared file system may be away for a moment
            return False

    def _require(self) -> None:
        if self.is_lost:
            raise HeldError

    @property
    def is_held(self) -> bool:
        """Whether a process seems to hold the run now; for showing."""
        if self._is_locked():
            return True
        holder = self.holder()
        if not holder or (holder.get("machine") == machine() and self._has_locks()):
            return False
        with suppress(OSError):
            return abs(time.time() - self.holder_file.stat().st_mtime) < DEAD_SECONDS
        return False

    def _taken(self, watch: Watch) -> IO[str] | None:
        """The locked file when the run is free."""
        with ExitStack() as stack:
            file = stack.enter_context(self.lock.open("a"))
            for _ in range(TRIES):
                if _lock(file, fcntl.LOCK_EX) is not False:
                    if watch.is_forsaken():
                        stack.pop_all()
                        return file
                    break
                time.sleep(0.05)
        return None

    def _sign(self, where: str, token: str) -> None:
        table = {"host": socket.gethostname(), "machine": machine(), "pid": os.getpid()}
        table |= {"where": where, "since": now(), "token": token}
        write_atomically(self.holder_file, json.dumps(table) + "\n")
        if not self._has_locks():  # of two that came together the last one to write has it
            time.sleep(POLL_SECONDS)
            if self.holder().get("token") != token:
                raise HeldError

    def _beat(self, over: threading.Event, beat: Callable[[bool], object]) -> None:
        last = time.monotonic()
        while not over.wait(1.0):
            is_ours = True
            if time.monotonic() - last >= BEAT_SECONDS:
                last = time.monotonic()
                is_ours = not self.is_lost
                with suppress(OSError):  # no space is needed to touch a file; it may be read-only
                    if is_ours:
                        os.utime(self.holder_file)
            if over.is_set():
                return
            beat(is_ours)

    def _is_locked(self) -> bool:
        """Whether a process of this machine, or of one that shares locks, holds the lock."""
        try:
            with self.lock.open("rb") as file:
                return _lock(file, fcntl.LOCK_SH) is False
        except OSError:
            return False

    def _has_locks(self) -> bool:
        try:
            with self.lock.open("rb") as file:
                return _lock(file, fcntl.LOCK_SH) is not None
        except OSError:
            return True


class Watch:
    """Watches a claim until its holder is gone; made once, asked again and again."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self._seen: tuple[object, ...] = ()
        self._since = 0.0

    def is_free(self) -> bool:
        """Whether the run can be taken."""
        return not self.claim._is_locked() and self.is_forsaken()

    def is_forsaken(self) -> bool:
        """Whether nobody else has it who does not show in the lock; a dead holder is forgotten."""
        holder = self.claim.holder()
        if not holder:
            return True
        if holder.get("machine") == machine() and self.claim._has_locks():
            return True  # its lock is gone, so is it
        with suppress(FileNotFoundError):
            seen = (holder.get("token"), self.claim.holder_file.stat().st_mtime_ns)
            if seen != self._seen:
                self._seen, self._since = seen, time.monotonic()
            if time.monotonic() - self._since < DEAD_SECONDS:
                return False
            self.claim.holder_file.unlink()
        return True


def _lock(file: IO[Any], kind: int) -> bool | None:
    """True: locked. False: another one has it. None: the file system knows no locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True
