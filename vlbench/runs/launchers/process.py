"""A worker as its launcher sees it: started, told why to stop, killed when it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from vlbench.runs.folder import RunFolder

TERM_SECONDS = 15.0
"""After being told, before SIGTERM."""
KILL_SECONDS = 45.0
"""After being told, before SIGKILL."""


class WorkerProcess:
    """One worker, in a session of its own, so that a signal to us does not reach it by itself."""

    def __init__(self, process: subprocess.Popen[bytes], folder: RunFolder) -> None:
        self.process = process
        self.folder = folder
        self.reason = ""
        self._told_at = 0.0

    @classmethod
    def start(
        cls,
        folder: RunFolder,
        where: str,
        environment: Mapping[str, str],
        processes: int = 1,
    ) -> WorkerProcess:
        """Start it; what it prints goes to the run's log."""
        with folder.log.open("ab") as log:
            process = subprocess.Popen(
                worker_command(folder, where, processes),
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return cls(process, folder)

    def poll(self) -> int | None:
        """Its exit code when it has ended; one that was told and does not go is made to."""
        code = self.process.poll()
        if code is not None:
            self._hang_up()
        elif self.reason:
            waited = time.monotonic() - self._told_at
            if waited > KILL_SECONDS:
                self.kill()
            elif waited > TERM_SECONDS:
                self.process.terminate()
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; TimeoutError where it takes longer than so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.folder.path}: the worker is still there")
            time.sleep(0.05)
        return code

    def stop(self, reason: str) -> None:
        """Tell it to stop, once, and why: `cancelled`, `timeout` or `preempted`."""
        if self.reason:
            return
        self.reason, self._told_at = reason, time.monotonic()
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(f"{reason}\n".encode())
            self.process.stdin.flush()

    def kill(self) -> None:
        """End it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()


def worker_command(folder: RunFolder, where: str, processes: int = 1) -> list[str]:
    """The command of a worker; one that is not launched, but started by hand, is nowhere."""
    command = [sys.executable, "-P", "-m", "vlbench.worker", str(folder.path.absolute())]
    launched = ["--launched", where] if where else []
    more = ["--processes", str(processes)] if processes > 1 else []
    return [*command, *launched, *more]
