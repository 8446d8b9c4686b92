"""How a run ends before its time: by a signal, its launcher, a file in its folder, or an error.

A training step that is told to stop is finished, and leaves a checkpoint; elsewhere nothing is
lost, and the run stops at once.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlbench.errors import BUG, INTERRUPTED, RunFailed, explain, is_out_of_memory, whose_exit

LAST_SECONDS = 40.0
"""Where its launcher told it to stop, a process ends after that, whatever it is doing."""
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
    """Whether this process was told to stop, and why: the first reason holds."""

    def __init__(self) -> None:
        self.reason = ""
        self._is_deferred = False
        self._has_signals = False

    def ask(self, reason: str, is_urgent: bool = False) -> None:
        """Request a stop, from any thread."""
        self.reason = self.reason or reason
        if self._is_deferred and not is_urgent:
            return
        main = threading.main_thread()
        if threading.current_thread() is main:
            raise Stopped(self.reason)
        if self._has_signals and main.ident is not None:
            signal.pthread_kill(main.ident, signal.SIGTERM)  # ends a system call, too

    def check(self) -> None:
        """Raise Stopped where a stop was requested."""
        if self.reason:
            raise Stopped(self.reason)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a first request wait for `check` while this lasts."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def on_signals(self, reason: str) -> None:
        """Make SIGTERM and SIGINT requests with this reason; the second one does not wait."""
        self._has_signals = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.ask(reason, is_urgent=bool(self.reason)))

    def listen(self, pipe: int) -> None:
        """Take the reason that a launcher writes to the pipe; its end means that it is gone."""

        def read() -> None:
            word = os.read(pipe, 64).decode(errors="replace").strip()
            timer = threading.Timer(LAST_SECONDS, os.killpg, (os.getpgrp(), signal.SIGKILL))
            timer.daemon = True
            timer.start()
            self.ask(word if word in REASONS else "stopped")

        threading.Thread(target=read, daemon=True).start()


def explained(error: BaseException, path: Path) -> tuple[int, str, str]:
    """Exit code, status and text of what ended an attempt; a bug comes with its traceback."""
    if isinstance(error, Stopped):
        code = RunFailed.exit_code if error.reason == "timeout" else INTERRUPTED
        return code, error.reason, f"{error.reason}: {error}"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "cancelled", "cancelled: interrupted"
    if isinstance(error, SystemExit):
        return RunFailed.exit_code, "failed", whose_exit(error)
    if is_out_of_memory(error):
        text = (
            f"out of memory: {error} (--max-batch auto computes a batch in parts that fit, "
            "--checkpoint-activations keeps less of each)"
        )
        return RunFailed.exit_code, "out-of-memory", text
    if known := explain(error, path):
        return known.exit_code, "failed", str(known)
    return BUG, "failed", traceback.format_exc()
