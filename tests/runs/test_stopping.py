"""Being told to stop: after the step in training, at once elsewhere."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from vlbench.runs import stopping
from vlbench.runs.stopping import Stop, Stopped


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stop]:
    """One that gets this process's signals."""
    monkeypatch.setattr(stopping, "_later", lambda seconds, act: None)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    stop = Stop()
    stop.on_signals("cancelled")
    yield stop
    for each, handler in before.items():
        signal.signal(each, handler)


def test_a_signal_ends_it_at_once_outside_of_training(stop: Stop) -> None:
    with pytest.raises(Stopped) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.reason == "cancelled"


def test_in_training_it_waits_for_the_step(stop: Stop) -> None:
    with stop.deferred():
        signal.raise_signal(signal.SIGINT)
        assert stop.reason == "cancelled"
        with pytest.raises(Stopped):
            stop.check()


def test_a_second_signal_does_not_wait(stop: Stop) -> None:
    with stop.deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)


def test_an_ordinary_except_does_not_hold_it_up(stop: Stop) -> None:
    with pytest.raises(Stopped):
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            raise AssertionError from None


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


def test_the_first_reason_holds(stop: Stop) -> None:
    with stop.deferred():
        stop.ask("timeout")
        with pytest.raises(Stopped) as ended:
            stop.ask("cancelled")
    assert ended.value.reason == "timeout"


def test_a_step_that_does_not_end_is_broken_off(
    stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[tuple[float, object]] = []
    monkeypatch.setattr(stopping, "_later", lambda seconds, act: timers.append((seconds, act)))
    with stop.deferred():
        threading.Thread(target=stop.ask, args=("preempted",)).start()
        while not timers:
            time.sleep(0.01)
        ((seconds, act),) = timers
        assert seconds == stopping.GRACE_SECONDS
        assert callable(act)
        with pytest.raises(Stopped):
            threading.Thread(target=act).start()
            time.sleep(10)
