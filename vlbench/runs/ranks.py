"""The processes of one run: the worker is rank 0 and starts the others, which never outlive it.

They meet through a file, so that no port can be taken. torch's elastic agent would take the signals
from the worker, and the lock from the process that writes.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import distributed
from torch import multiprocessing as mp
from torch.distributed import distributed_c10d
from torch.multiprocessing.spawn import ProcessContext, ProcessException

from vlbench.errors import MissingError, RunFailed

TIMEOUT = timedelta(days=1)
"""Longest wait of ranks for each other: scoring takes its time. A dead rank is noticed at once."""
POLL_SECONDS = 0.1
GRACE_SECONDS = 1.0
"""Time for the main rank to fail by itself after another one: its error has the exit code."""
REASON_SECONDS = 5.0
"""Wait for the end of another rank after an error that may be a lost connection."""
END_SECONDS = 30.0
"""Ranks that do not end by then are killed."""


@contextmanager
def joined(folder: Path, processes: int, device: str) -> Iterator[None]:
    """Start the other ranks of the run in `folder` and join them, for accelerate, as rank 0.

    RunFailed, or MemoryError, when another rank ends before its time.
    """
    if processes == 1:
        yield
        return
    if device != "cpu" and (count := torch.cuda.device_count()) < processes:
        raise MissingError(
            f"{processes} processes need {processes} GPUs, found {count}: give more with "
            f"--devices, or --processes {max(1, count)}."
        )
    if any(name == "lo" for _, name in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a host's name need not resolve
    threads = str(max(1, torch.get_num_threads() // processes))
    threads = os.environ.setdefault("OMP_NUM_THREADS", threads)
    torch.set_num_threads(int(threads))  # as in all ranks: a sum is rounded by their number
    with TemporaryDirectory(prefix="vlbench-ranks-", ignore_cleanup_errors=True) as rendezvous:
        others = Others(folder, Path(rendezvous), processes)
        try:
            others.wait_until_ready()
            with others.watched(), group(Path(rendezvous), 0, processes, device):
                yield
            for process in others.context.processes:
                process.join(END_SECONDS)
        finally:
            for process in others.context.processes:
                process.kill()
                process.join()


class Others:
    """The ranks from 1 on, as the main rank sees them; they print where this process prints."""

    def __init__(self, folder: Path, rendezvous: Path, count: int) -> None:
        self.rendezvous = rendezvous
        self.count = count
        self.failure: Exception | None = None
        """What ended another rank."""
        self._is_over = threading.Event()
        given = (folder, rendezvous, count)
        self.context: ProcessContext = mp.spawn(take_part, given, count - 1, False)  # type: ignore

    def wait_until_ready(self) -> None:
        """Wait until all are ready to join, so that the rendezvous waits for no dead rank."""
        while len(list(self.rendezvous.glob("ready-*"))) < self.count - 1:
            if self._has_failed():
                raise self.failure or RunFailed("another process of the run has ended")

    def _has_failed(self) -> bool:
        try:
            if self.context.join(POLL_SECONDS):
                time.sleep(POLL_SECONDS)
        except ProcessException as error:
            kind = MemoryError if "OutOfMemoryError" in str(error) else RunFailed
            text = str(error).strip()
            self.failure = kind(f"process {error.error_index + 2} of {self.count} failed: {text}")
        return self.failure is not None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise in the main thread, out of any call, when another rank fails."""

        def handle(number: int, frame: object) -> None:
            if not self._is_over.is_set() and self.failure:
                raise self.failure

        before = signal.signal(signal.SIGUSR1, handle)
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            yield
        except (RuntimeError, OSError) as error:  # it may be how a lost connection shows
            deadline = time.monotonic() + REASON_SECONDS
            while not self.failure and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if self.failure:
                raise self.failure from error
            raise
        finally:
            self._is_over.set()
            watcher.join()
            signal.signal(signal.SIGUSR1, before)

    def _watch(self) -> None:
        while not self._has_failed():
            if self._is_over.is_set():
                return
        if not self._is_over.wait(GRACE_SECONDS):
            with suppress(Exception):
                _abort()  # a collective on GPUs waits for the dead
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


def take_part(index: int, path: Path, rendezvous: Path, count: int) -> None:
    """Be rank 1 or higher: do the run as the worker does it, without writing anything."""
    mp._prctl_pr_set_pdeathsig(signal.SIGKILL)  # type: ignore[attr-defined]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker decides, and may need this step's share
    from vlbench.runs.execute import Run, train_and_test
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.spec import RunSpec
    from vlbench.runs.watch import Progress

    spec, folder = RunSpec.read(path / "spec.json"), RunFolder(path)
    (rendezvous / f"ready-{index}").touch()
    with group(rendezvous, index + 1, count, spec.device):
        train_and_test(Run(spec, folder, folder.attempts(), Progress(None, is_shown=False)))


@contextmanager
def group(rendezvous: Path, rank: int, count: int, device: str) -> Iterator[None]:
    """Join torch's process group as one of the ranks."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(number) for name, number in own.items()})
    if device != "cpu":
        torch.cuda.set_device(rank)
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


def _abort() -> None:
    """Abort collectives that dead ranks will not answer; gloo notices by itself."""
    if distributed.is_initialized() and distributed_c10d.get_backend() == "nccl":
        distributed_c10d._abort_process_group()
