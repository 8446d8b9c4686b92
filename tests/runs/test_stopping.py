"""Being told to stop: after the step in training, at once elsewhere."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from vlbench.runs import stopping
from vlbench.runs.stopping import Stop, Stopped


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stop]:
    """One that gets this process's signals, and does not kill it in the end."""
    monkeypatch.setattr(stopping, "LAST_SECONDS", 1e6)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = Stop()
    stop.on_signals("cancelled")
    yield stop
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("is_training", [False, True])
def test_a_signal_ends_it_at_once_and_training_with_the_second_one(
    stop: Stop, number: int, is_training: bool
) -> None:
    with stop.deferred() if is_training else nullcontext():
        if is_training:
            signal.raise_signal(number)
            assert stop.reason == "cancelled"
            with pytest.raises(Stopped):
                stop.check()
        with pytest.raises(Stopped) as ended:
            try:
                signal.raise_signal(number)
            except Exception:  # an ordinary one does not hold it up
                raise AssertionError from None
    assert ended.value.reason == "cancelled"


@pytest.mark.parametrize(
    ("word", "reason"),
    [(b"timeout\n", "timeout"), (b"preempted\n", "preempted"), (b"", "stopped"), (b"?", "stopped")],
)
def test_the_launchers_word_is_the_reason_and_its_end_is_one(
    stop: Stop, word: bytes, reason: str
) -> None:
    read, write = os.pipe()
    stop.listen(read)
    with pytest.raises(Stopped) as ended:
        if word:
            os.write(write, word)
        else:
            os.close(write)
        time.sleep(10)  # the signal ends a system call too
    assert ended.value.reason == reason
    if word:
        os.close(write)
    os.close(read)
