"""The processes of one run: the worker is rank 0 and starts the others, which never outlive it.

They meet through a file, so that no port can be taken. A rank that ends ends the run; its error is
in the log. When the worker is gone, the end of their standard input ends the others. torch's own
elastic agent would take the signals from the worker, and the lock from the process that writes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from vlbench.errors import MissingError, RunFailed

OUT_OF_MEMORY = 77
"""Exit code of a rank whose memory ran out."""
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
    import torch

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
    rendezvous = Path(mkdtemp(prefix="vlbench-ranks-"))
    command = [sys.executable, "-P", "-m", "vlbench.worker", str(folder.absolute())]
    command += ["--processes", str(processes), "--rendezvous", str(rendezvous), "--rank"]
    others = Others(rendezvous, [[*command, str(rank)] for rank in range(1, processes)])
    try:
        others.wait_until_ready()
        with others.watched(), group(rendezvous, 0, processes, device):
            yield
    finally:
        others.end()
        rmtree(rendezvous, ignore_errors=True)


class Others:
    """The ranks from 1 on, as the main rank sees them; they print where this process prints."""

    def __init__(self, rendezvous: Path, commands: Sequence[Sequence[str]]) -> None:
        self.rendezvous = rendezvous
        self.processes = [subprocess.Popen(words, stdin=subprocess.PIPE) for words in commands]
        self._is_over = threading.Event()

    def wait_until_ready(self) -> None:
        """Wait until all are ready to join, so that the rendezvous waits for no dead rank."""
        while len(list(self.rendezvous.glob("ready-*"))) < len(self.processes):
            if failure := self.failure():
                raise failure
            time.sleep(POLL_SECONDS)

    def failure(self) -> Exception | None:
        """What ended another rank; None where all go on."""
        for number, process in enumerate(self.processes, 2):
            if code := process.poll():
                reason = f"was ended by {signal.Signals(-code).name}" if code < 0 else "failed"
                kind = MemoryError if code == OUT_OF_MEMORY else RunFailed
                text = f"process {number} of {len(self.processes) + 1} {reason}: see the log"
                return kind(text)
        return None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise in the main thread, out of any call, when another rank fails."""

        def handle(number: int, frame: object) -> None:
            if not self._is_over.is_set() and (failure := self.failure()):
                raise failure

        before = signal.signal(signal.SIGUSR1, handle)
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            yield
        except (RuntimeError, OSError) as error:  # it may be how a lost connection shows
            deadline = time.monotonic() + REASON_SECONDS
            while not (failure := self.failure()) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if failure:
                raise failure from error
            raise
        finally:
            self._is_over.set()
            signal.signal(signal.SIGUSR1, before)

    def _watch(self) -> None:
        while not self.failure():
            if self._is_over.wait(POLL_SECONDS):
                return
        if not self._is_over.wait(GRACE_SECONDS):
            with suppress(Exception):
                _abort()  # a collective on GPUs waits for the dead
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def end(self) -> None:
        """End them by the end of their standard input; kill those that stay."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def group(rendezvous: Path, rank: int, count: int, device: str) -> Iterator[None]:
    """Join torch's process group as one of the ranks."""
    import torch
    from torch import distributed

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
    from torch.distributed import distributed_c10d as c10d

    if c10d.is_initialized() and c10d.get_backend() == "nccl":
        c10d._abort_process_group()
