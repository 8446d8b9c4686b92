"""How a run is told to stop: by a signal, by its launcher, or by a file in its folder.

In training it stops after the step, with a checkpoint; elsewhere at once, as nothing is lost there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE_SECONDS = 10.0
"""How long a training step may go on."""
LAST_SECONDS = 40.0
"""After that the process ends, whatever it is doing."""
REASONS = {
    "cancelled": "it was told to stop",
    "timeout": "its time limit was over",
    "preempted": "its place was needed for another job",
    "stopped": "its launcher is gone",
}
"""Status of the run -> what happened."""


class Stopped(BaseException):
    """Ends a run that was told to stop; like KeyboardInterrupt no ordinary error."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


class Stop:
    """Whether this process was told to stop, and why."""

    def __init__(self) -> None:
        self.reason = ""
        self._is_deferred = False
        self._signals = -1
        """How many came; -1 where they are not ours."""
        self._is_late = False

    def ask(self, reason: str) -> None:
        """Tell it, from any thread; the first reason holds.

        Outside of training, and where it is told another reason, the main thread ends at once.
        """
        is_other = self.reason not in ("", reason)
        self._note(reason)
        if is_other or not self._is_deferred:
            self._end_now()

    def _note(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            _later(GRACE_SECONDS, self._end_now)

    def check(self) -> None:
        """Raise Stopped where it was asked."""
        if self.reason:
            raise Stopped(self.reason)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While this lasts a first request waits for `check`."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def on_signals(self, reason: str) -> None:
        """SIGTERM and SIGINT ask to stop; the second one does not wait."""

        def handle(number: int, frame: object) -> None:
            self._signals += 1
            self._note(reason)
            if self._is_late or self._signals > 1 or not self._is_deferred:
                raise Stopped(self.reason)

        self._signals = 0
        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)

    def listen(self, pipe: int) -> None:
        """Ask with the word that a launcher writes to the pipe; its end means it is gone."""

        def read() -> None:
            word = os.read(pipe, 64).decode(errors="replace").strip()
            _later(LAST_SECONDS, _die)
            self.ask(word if word in REASONS else "stopped")

        threading.Thread(target=read, daemon=True, name="launcher").start()

    def _end_now(self) -> None:
        """Have the main thread raise, out of a system call too."""
        main = threading.main_thread()
        if threading.current_thread() is main:
            raise Stopped(self.reason)
        self._is_late = True
        if self._signals >= 0 and main.ident is not None:
            signal.pthread_kill(main.ident, signal.SIGTERM)


def _die() -> None:
    """End this process and what it started; it has a session of its own."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _later(seconds: float, act: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
