"""The processes of one run: the worker is rank 0 and starts the others, which never outlive it.

Their rendezvous is a file, so that no port can be taken. A rank that ends ends the run with its
reason; when the worker is gone, the end of their standard input ends the others.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from types import FrameType
from typing import Any

from vlbench.errors import MissingError, RunFailed

TIMEOUT = timedelta(days=1)
"""Ranks wait for each other so long: scoring takes its time. One that died is noticed at once."""
POLL_SECONDS = 0.1
GRACE_SECONDS = 1.0
"""After another rank's end, how long the main one may take to fail by itself, for the same reason
or for the lost connection."""
REASON_SECONDS = 5.0
"""After an error that may be a lost connection, how long the end of another rank is waited for."""
END_SECONDS = 30.0
"""Ranks that do not end by then are killed; a worker that hangs in a call ends itself."""


@contextmanager
def joined(folder: Path, processes: int, device: str) -> Iterator[None]:
    """Start the other ranks of the run in `folder` and join them, for accelerate, as rank 0.

    RunFailed, or MemoryError, when another rank ends before its time, with its reason.
    """
    if processes == 1:
        yield
        return
    _check_devices(processes, device)
    rendezvous = Path(mkdtemp(prefix="vlbench-ranks-"))
    others = Others(folder, rendezvous, processes)
    try:
        with _environment(processes):
            others.start()
            others.wait_until_here()
            with others.watched(), group(rendezvous, 0, processes, device):
                yield
    finally:
        others.end()
        shutil.rmtree(rendezvous, ignore_errors=True)


class Others:
    """The ranks from 1 on, as the main rank sees them."""

    def __init__(self, folder: Path, rendezvous: Path, count: int) -> None:
        self.folder = folder
        self.rendezvous = rendezvous
        self.count = count
        self.processes: list[subprocess.Popen[bytes]] = []
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start them; what they print goes where this process prints."""
        command = [sys.executable, "-P", "-m", "vlbench.worker", str(self.folder.absolute())]
        command += ["--processes", str(self.count), "--rendezvous", str(self.rendezvous), "--rank"]
        for rank in range(1, self.count):
            self.processes.append(subprocess.Popen([*command, str(rank)], stdin=subprocess.PIPE))

    def wait_until_here(self) -> None:
        """Wait until all are ready to join, so that the rendezvous waits for no dead rank."""
        while not all((self.rendezvous / f"here-{rank}").exists() for rank in range(1, self.count)):
            if failure := self.failure():
                raise failure
            time.sleep(POLL_SECONDS)

    def failure(self) -> Exception | None:
        """What ended the rank that failed first; None while all are well."""
        dead = [rank for rank in range(1, self.count) if self.processes[rank - 1].poll()]
        return self._explained(min(dead, key=self._failed_at)) if dead else None

    def _failed_at(self, rank: int) -> float:
        """When it wrote its reason; a rank that was killed wrote none and comes first."""
        with suppress(OSError):
            return self._reason(rank).stat().st_mtime
        return 0.0

    def _reason(self, rank: int) -> Path:
        return self.rendezvous / f"failed-{rank}.json"

    def _explained(self, rank: int) -> Exception:
        code = self.processes[rank - 1].returncode
        try:
            reason: dict[str, Any] = json.loads(self._reason(rank).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended: {code}"
            reason = {"is_memory": False, "text": f"{ended}, without a word"}
        kind = MemoryError if reason["is_memory"] else RunFailed
        return kind(f"process {rank + 1} of {self.count} {reason['text']}")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While this lasts, the end of another rank is an error of this one."""
        before = self._interrupt_with_failure()
        threading.Thread(target=self._watch, daemon=True, name="ranks").start()
        try:
            yield
        except (RuntimeError, OSError) as error:  # it may be how a lost connection shows
            if failure := self._failure_within(REASON_SECONDS):
                raise failure from error
            raise  # its own
        finally:
            self._is_over.set()
            if before is not None:
                signal.signal(signal.SIGUSR1, before)

    def _failure_within(self, seconds: float) -> Exception | None:
        deadline = time.monotonic() + seconds
        while not (failure := self.failure()) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return failure

    def _interrupt_with_failure(self) -> Any:
        """Have SIGUSR1 raise the failure in the main thread; return the handler before."""

        def handle(number: int, frame: FrameType | None) -> None:
            if not self._is_over.is_set() and (failure := self.failure()):
                self._is_over.set()
                raise failure

        if threading.current_thread() is not threading.main_thread():
            return None
        return signal.signal(signal.SIGUSR1, handle)

    def _watch(self) -> None:
        """Wait for a rank that fails; then have the main thread raise it."""
        while not self.failure():
            if self._is_over.wait(POLL_SECONDS):
                return
        if self._is_over.wait(GRACE_SECONDS):
            return
        main = threading.main_thread()
        with suppress(Exception):
            _abort()  # a collective on GPUs waits for the dead
        if main.ident is not None and not self._is_over.is_set():
            signal.pthread_kill(main.ident, signal.SIGUSR1)
        if not self._is_over.wait(END_SECONDS):
            print(f"vlbench: {self.failure()}", file=sys.stderr, flush=True)
            os._exit(RunFailed.exit_code)

    def end(self) -> None:
        """End them by the end of their standard input; kill those that stay."""
        for process in self.processes:
            with suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
        for process in self.processes:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _environment(count: int) -> Iterator[None]:
    """Set the environment for gloo and accelerate while this lasts.

    All ranks have equally many threads, as a sum over threads is rounded by their number.
    """
    import torch

    before, threads = dict(os.environ), torch.get_num_threads()
    if any(name == "lo" for _, name in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a host's name need not resolve
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads // count)))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def group(rendezvous: Path, rank: int, count: int, device: str) -> Iterator[None]:
    """Join torch's process group as one of the ranks."""
    import torch
    from torch import distributed

    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(number) for name, number in own.items()})
    if device != "cpu":
        torch.cuda.set_device(rank)
    _forget()
    distributed.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        init_method=f"file://{rendezvous / 'store'}",
        rank=rank,
        world_size=count,
        timeout=TIMEOUT,
    )
    try:
        yield
    except BaseException:
        _abort()
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        _forget()


def _forget() -> None:
    """Have accelerate count the processes again, which it does once in a process."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def _abort() -> None:
    """Abort collectives that dead ranks will not answer; gloo notices by itself."""
    from torch.distributed import distributed_c10d as c10d

    if c10d.is_initialized() and c10d.get_backend() == "nccl":
        c10d._abort_process_group()


def _check_devices(processes: int, device: str) -> None:
    import torch

    if device != "cpu" and (found := torch.cuda.device_count()) < processes:
        raise MissingError(
            f"{processes} processes need {processes} GPUs, found {found}: give more with "
            f"--devices, or --processes {max(1, found)}."
        )
