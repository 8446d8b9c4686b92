"""Python reads this at the start of every disturbed process, from PYTHONPATH.

Its clock jumps by hours, forwards and backwards, and it kills itself where an order says so: a file
`WHEN,PATTERN` in the folder of orders, such as `before,result.parquet`. The first process that
comes there takes the order, so each is carried out once.
"""

from __future__ import annotations

import datetime
import fnmatch
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Real = datetime.datetime
LARGEST_JUMP = 12 * 3600.0
JUMP_SECONDS = 0.7
"""The clock keeps going this long, on the average, before it jumps again."""


class Clock:
    """The real one, off by some hours that change again and again."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._time_ns = time.time_ns
        self._until = 0.0
        self._off_ns = 0

    def time_ns(self) -> int:
        """In place of time.time_ns."""
        if time.monotonic() >= self._until:
            self._until = time.monotonic() + self._random.expovariate(1 / JUMP_SECONDS)
            self._off_ns = int(self._random.uniform(-LARGEST_JUMP, LARGEST_JUMP) * 1e9)
        return self._time_ns() + self._off_ns

    def time(self) -> float:
        """In place of time.time."""
        return self.time_ns() / 1e9

    def install(self) -> None:
        """Make this the clock of the process."""
        time.time_ns, time.time = self.time_ns, self.time
        for name in ("localtime", "gmtime"):
            setattr(time, name, self._of_a_moment(getattr(time, name)))
        write = time.strftime
        time.strftime = lambda form, at=None: write(form, at or time.localtime())  # type: ignore
        datetime.datetime = Jumping  # type: ignore[misc]
        import vlbench.text  # noqa: F401 - it is where vlbench has the time from

        datetime.datetime = Real  # type: ignore[misc]

    def _of_a_moment(self, tell: Callable[[float], Any]) -> Callable[..., Any]:
        return lambda at=None: tell(self.time() if at is None else at)


class Jumping(Real):
    """For vlbench alone: a library in C that meets another class than its own breaks."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        """Of the clock that jumps."""
        return Real.fromtimestamp(time.time(), tz)


class Orders:
    """Where this process is to die, if it gets there first."""

    def __init__(self, folder: Path) -> None:
        self._given = folder / "given"
        self._done = folder / "done"

    def obey(self, when: str, name: str, act: Callable[[], object] = lambda: None) -> None:
        """Die here, after a last act, where an order says so; the file then holds our number."""
        for order in os.listdir(self._given):
            wanted, _, pattern = order.partition(",")
            if wanted != when or not fnmatch.fnmatch(name, pattern):
                continue
            try:
                os.rename(self._given / order, self._done / order)
            except FileNotFoundError:
                continue  # another process was first
            (self._done / order).write_text(str(os.getpid()))
            act()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Obey at every rename, and wherever a file or a folder is removed."""
        replace = os.replace

        def replace_or_die(source: Any, target: Any, **more: Any) -> None:
            name = os.path.basename(os.fspath(target))
            self.obey("half", name, lambda: os.truncate(source, os.path.getsize(source) // 2))
            self.obey("before", name)
            replace(source, target, **more)
            self.obey("after", name)
            self.obey("torn", name, lambda: _tear_last_event(Path(target).parent))

        os.replace = replace_or_die  # type: ignore[assignment]
        for name in ("unlink", "rmdir"):
            setattr(os, name, self._before(name, getattr(os, name)))

    def _before(self, when: str, remove: Callable[..., None]) -> Callable[..., None]:
        def remove_or_die(path: Any, **more: Any) -> None:
            self.obey(when, os.path.basename(os.fspath(path)))
            remove(path, **more)

        return remove_or_die


def _tear_last_event(run: Path) -> None:
    """What a death in the writing of the last event leaves."""
    with (run / "attempts.jsonl").open("a", encoding="utf-8") as lines:
        lines.write('{"attempt": 1, "event": "done", "at": "20')


if "FAULTS_ORDERS" in os.environ:
    Orders(Path(os.environ["FAULTS_ORDERS"])).install()
    Clock(f"{os.environ['FAULTS_ORDERS']} {os.getpid()}").install()
