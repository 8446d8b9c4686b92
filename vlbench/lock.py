"""A folder's lock: it ends with its process, and its heartbeat shows on other machines.

On one machine `flock` decides. Shared file systems may keep locks to one machine, or know none: so
the holder also writes its name beside the lock and touches that file every few seconds. A holder on
another machine counts as dead when the watcher's own clock has seen no touch for long enough.
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
from vlbench.files import guarded, read_object, write_atomically
from vlbench.text import now

HEARTBEAT_SECONDS = 5.0
DEAD_SECONDS = 120.0
"""File systems may show a touch only after a minute."""
POLL_SECONDS = 0.5
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class LockedError(Exception):
    """Another process holds the lock."""


class Lock:
    """The lock of one folder; of any number of objects at most one holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "lock"
        self.holder_file = folder / "holder.json"
        self._token = ""  # in `holder.json` while this object holds the lock
        self._seen: object = None  # the other holder's token and last heartbeat
        self._seen_at = 0.0

    @contextmanager
    def acquire(
        self,
        where: str = "",
        waiting: Callable[[], object] | None = None,
        heartbeat: Callable[[bool], object] = lambda _: None,
    ) -> Iterator[None]:
        """Hold the lock; without `waiting` raise LockedError at once where another process does.

        A thread calls `heartbeat` every second with whether the lock is still this one's. Once it
        is not, whatever would be written in the folder raises LockedError instead.
        """
        if (file := self._try()) is None:
            if waiting is None:
                raise LockedError
            waiting()
            while (file := self._try()) is None:
                time.sleep(POLL_SECONDS)
        is_over = threading.Event()
        with file:
            token = secrets.token_hex(8)
            try:
                self._sign(where, token)
                self._token = token
                threading.Thread(target=self._beat, args=(is_over, heartbeat), daemon=True).start()
                with guarded(self.folder, self._check_is_ours):
                    yield
            finally:
                is_over.set()
                self._token = ""
                if self.holder().get("token") == token:
                    self.holder_file.unlink(missing_ok=True)

    def holder(self) -> dict[str, Any]:
        """Who claims to hold the lock: host, pid, where, since; empty where nobody does."""
        with suppress(DataError):
            return read_object(self.holder_file)
        return {}

    @property
    def is_lost(self) -> bool:
        """Whether this object held the lock, was taken for dead, and another process took it."""
        try:
            return self._token.encode() not in self.holder_file.read_bytes()
        except FileNotFoundError:
            return bool(self._token)
        except OSError:  # a shared file system may be away for a moment
            return False

    @property
    def is_locked(self) -> bool:
        """Whether a process seems to hold the lock now; for showing."""
        holder = self.holder()
        with suppress(OSError):
            age = abs(time.time() - self.holder_file.stat().st_mtime)
            if holder and not self._is_gone(holder) and age < DEAD_SECONDS:
                return True
        return self._probe() is False

    def is_free(self) -> bool:
        """Whether the lock can be acquired; a dead holder on another machine takes time to tell."""
        return self._probe() is not False and self._has_no_holder()

    def _try(self) -> IO[str] | None:
        with ExitStack() as stack:
            file = stack.enter_context(self.file.open("a"))
            for _ in range(5):  # a process that only looks holds the lock for a moment
                if _flock(file, fcntl.LOCK_EX) is not False:
                    if self._has_no_holder():
                        stack.pop_all()
                        return file
                    break
                time.sleep(0.05)
        return None

    def _sign(self, where: str, token: str) -> None:
        table = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid()}
        table |= {"where": where, "since": now(), "token": token}
        write_atomically(self.holder_file, json.dumps(table) + "\n")
        if self._probe() is None:  # of two that came together the last one to write has it
            time.sleep(POLL_SECONDS)
            if self.holder().get("token") != token:
                raise LockedError

    def _beat(self, is_over: threading.Event, heartbeat: Callable[[bool], object]) -> None:
        last = time.monotonic()
        while not is_over.wait(1.0):
            is_ours = True
            if time.monotonic() - last >= HEARTBEAT_SECONDS:
                last = time.monotonic()
                is_ours = not self.is_lost
                with suppress(OSError):  # no space is needed to touch a file; it may be read-only
                    if is_ours:
                        os.utime(self.holder_file)
            if not is_over.is_set():
                heartbeat(is_ours)

    def _check_is_ours(self) -> None:
        if self.is_lost:
            raise LockedError

    def _has_no_holder(self) -> bool:
        """Whether no holder is alive that `flock` does not show; a dead one's name is removed."""
        holder = self.holder()
        if not holder or self._is_gone(holder):
            return True
        with suppress(FileNotFoundError):
            seen = (holder.get("token"), self.holder_file.stat().st_mtime_ns)
            if seen != self._seen:
                self._seen, self._seen_at = seen, time.monotonic()
            if time.monotonic() - self._seen_at < DEAD_SECONDS:
                return False
            self.holder_file.unlink()
        return True

    def _is_gone(self, holder: dict[str, Any]) -> bool:
        """Whether a holder that `flock` does not show is of this machine, which has locks."""
        return holder.get("machine") == _machine() and self._probe() is not None

    def _probe(self) -> bool | None:
        """What `_flock` says of a shared lock; True where the file cannot be opened or asked."""
        try:
            with self.file.open("rb") as file:
                return _flock(file, fcntl.LOCK_SH)
        except OSError:
            return True


def _machine() -> str:
    """An id that all processes share which have this kernel, its locks and its clock."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return socket.gethostname()


def _flock(file: IO[Any], kind: int) -> bool | None:
    """True: locked. False: another process has it. None: the file system knows no locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True
