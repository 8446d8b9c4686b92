"""The processes of one run: the worker is rank 0 and starts the others, which never outlive it.

They meet through a file, so that no port can be taken. A rank that ends ends the run with its
reason; when the worker is gone, the end of their standard input ends the others. torch's elastic
agent would take the signals from the worker, and the lock from the process that writes.
"""

from __future__ import annotations

import json
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

TIMEOUT = timedelta(days=1)
"""Longest wait of ranks for each other: scoring takes its time. A dead rank is noticed at once."""
POLL_SECONDS = 0.1
GRACE_SECONDS = 1.0
"""Time for the main rank to fail by itself after another one: its error has the exit code."""
REASON_SECONDS = 5.0
"""Wait for the end of another rank after an error that may be a lost connection."""
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

    def failure(self, seconds: float = 0.0) -> Exception | None:
        """What ended the rank that failed first, or fails within these seconds; None where none."""
        deadline = time.monotonic() + seconds
        while not (dead := [n for n, rank in enumerate(self.processes, 1) if rank.poll()]):
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL_SECONDS)
        files = {rank: self.rendezvous / f"failed-{rank}.json" for rank in dead}
        # a rank that was killed gave no reason, and comes first
        first = min(dead, key=lambda n: files[n].stat().st_mtime if files[n].exists() else 0)
        code = self.processes[first - 1].returncode
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended: {code}"
        reason = {"is_memory": False, "text": f"{ended}, without a word"}
        with suppress(OSError, ValueError):
            reason = json.loads(files[first].read_text(encoding="utf-8"))
        kind = MemoryError if reason["is_memory"] else RunFailed
        return kind(f"process {first + 1} of {len(self.processes) + 1} {reason['text']}")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise in the main thread, out of any call, when another rank fails."""

        def handle(number: int, frame: object) -> None:
            if not self._is_over.is_set() and (failure := self.failure()):
                self._is_over.set()
                raise failure

        is_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGUSR1, handle) if is_main else None
        threading.Thread(target=self._watch, daemon=True, name="ranks").start()
        try:
            yield
        except (RuntimeError, OSError) as error:  # it may be how a lost connection shows
            if failure := self.failure(REASON_SECONDS):
                raise failure from error
            raise  # its own
        finally:
            self._is_over.set()
            if is_main:
                signal.signal(signal.SIGUSR1, before)

    def _watch(self) -> None:
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


def leave_reason(error: BaseException, file: Path) -> int:
    """Write down for the main rank what ended this one; return the exit code."""
    from vlbench.files import write_atomically
    from vlbench.runs.stopping import explained

    code, status, text = explained(error, file)
    is_memory = status == "out-of-memory"
    reason = {"is_memory": is_memory, "text": f"failed: {error if is_memory else text}"}
    with suppress(OSError):  # the worker may have ended, and the folder with it
        write_atomically(file, json.dumps(reason))
    return code
