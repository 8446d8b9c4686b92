"""Batches made ahead in a thread, while the device is busy with those before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

    from vlbench.data.batches import Batch

T = TypeVar("T")

AHEAD = 2
"""Batches that wait, at most; memory holds one more, which is being made."""
LOOK_SECONDS = 0.1
"""How often a maker that waits for room looks whether anybody still wants its batches."""


def prefetched_for(device: torch.device, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Batches made ahead for this device; for a GPU in memory that it copies from by itself."""
    is_gpu = device.type == "cuda"
    return prefetched(batch.pinned() for batch in batches) if is_gpu else prefetched(batches)


def prefetched(batches: Iterator[T], ahead: int = AHEAD) -> Iterator[T]:
    """The same batches in the same order; an error in making one is raised where it would come."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
    is_over = threading.Event()

    def put(batch: T | None, error: BaseException | None = None) -> None:
        while not is_over.is_set():
            with suppress(queue.Full):
                ready.put((batch, error), timeout=LOOK_SECONDS)
                return

    def make() -> None:
        try:
            for batch in batches:
                put(batch)
                if is_over.is_set():
                    return
            put(None)
        except BaseException as error:  # the other thread's to raise, whatever it is
            put(None, error)

    maker = threading.Thread(target=make, name="vlbench batches", daemon=True)
    maker.start()
    try:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch
    finally:
        is_over.set()
        maker.join()
