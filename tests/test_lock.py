"""One holder at a time, on one machine by a lock, across machines by a heartbeat."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vlbench import lock as module
from vlbench.files import append_line, remove_leftovers, write_atomically
from vlbench.lock import Lock, LockedError
from vlbench.runs.watch import Progress


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(module, "DEAD_SECONDS", 0.3)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)


def elsewhere(folder: Path) -> Path:
    """A holder on another machine, as it shows here."""
    file = Lock(folder).holder_file
    file.write_text(json.dumps({"host": "far", "machine": "other", "pid": 1, "token": "t"}))
    return file


def no_locks(file: object, kind: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_held_run_is_refused_and_free_afterwards(tmp_path: Path) -> None:
    with Lock(tmp_path).acquire("GPU 0"):
        assert Lock(tmp_path).is_locked
        assert not Lock(tmp_path).is_free()
        holder = Lock(tmp_path).holder()
        assert (holder["pid"], holder["where"]) == (os.getpid(), "GPU 0")
        with pytest.raises(LockedError), Lock(tmp_path).acquire():
            pass
    assert not Lock(tmp_path).is_locked
    assert Lock(tmp_path).holder() == {}
    with Lock(tmp_path).acquire():
        pass


def test_whoever_waits_gets_it_when_the_holder_lets_go(tmp_path: Path) -> None:
    told, got = threading.Event(), threading.Event()

    def wait() -> None:
        with Lock(tmp_path).acquire(waiting=told.set):
            got.set()

    with Lock(tmp_path).acquire():
        thread = threading.Thread(target=wait)
        thread.start()
        assert told.wait(5)
        assert not got.is_set()
    thread.join(5)
    assert got.is_set()


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from vlbench.lock import Lock\n"
        "with Lock(Path(sys.argv[1])).acquire(): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert Lock(tmp_path).is_locked
    process.kill()
    process.communicate()
    assert Lock(tmp_path).holder()["pid"] == process.pid
    assert not Lock(tmp_path).is_locked
    with Lock(tmp_path).acquire():
        assert Lock(tmp_path).holder()["pid"] == os.getpid()


@pytest.mark.usefixtures("fast")
def test_a_holder_on_another_machine_is_waited_for_while_its_heart_beats(tmp_path: Path) -> None:
    file = elsewhere(tmp_path)
    watch = Lock(tmp_path)
    for beat in range(5):
        os.utime(file, (beat, beat))  # its clock may be anything
        assert not watch.is_free()
        time.sleep(0.1)
    assert Lock(tmp_path).is_locked is False  # only a guess, by the clock
    os.utime(file)
    assert Lock(tmp_path).is_locked
    with pytest.raises(LockedError), Lock(tmp_path).acquire():
        pass


@pytest.mark.usefixtures("fast")
def test_a_holder_on_another_machine_is_dead_when_nothing_beats(tmp_path: Path) -> None:
    elsewhere(tmp_path)
    waited: list[bool] = []
    with Lock(tmp_path).acquire(waiting=lambda: waited.append(True)):
        assert Lock(tmp_path).holder()["pid"] == os.getpid()
    assert waited == [True]


@pytest.mark.usefixtures("fast")
def test_without_locks_the_heartbeat_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.fcntl, "flock", no_locks)
    with Lock(tmp_path).acquire():
        assert Lock(tmp_path).is_locked
        with pytest.raises(LockedError), Lock(tmp_path).acquire():
            pass
        time.sleep(0.5)
        assert not Lock(tmp_path).is_free()  # it was touched since
    assert Lock(tmp_path).is_free()


@pytest.mark.slow
@pytest.mark.usefixtures("fast")
def test_a_holder_learns_that_another_one_took_over(tmp_path: Path) -> None:
    told = threading.Event()
    with Lock(tmp_path).acquire(heartbeat=lambda is_ours: None if is_ours else told.set()):
        elsewhere(tmp_path)
        assert told.wait(5)
    assert Lock(tmp_path).holder()["host"] == "far"  # not ours to take away


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("is_over", [False, True], ids=["at work", "done"])
def test_whoever_lost_the_run_writes_nothing_in_it(tmp_path: Path, is_over: bool) -> None:
    lock = Lock(tmp_path)
    with lock.acquire():
        write_atomically(tmp_path / "before", "")
        elsewhere(tmp_path)
        if is_over:
            lock.holder_file.unlink()
        assert lock.is_lost
        before = sorted(tmp_path.rglob("*"))
        log = Progress(tmp_path / "log.txt", is_shown=False)
        for write in (
            lambda: write_atomically(tmp_path / "new" / "file", "late"),
            lambda: append_line(tmp_path / "attempts.jsonl", {}),
            lambda: log.say("late"),
            lambda: remove_leftovers(tmp_path),
        ):
            with pytest.raises(LockedError):
                write()
        assert sorted(tmp_path.rglob("*")) == before
    write_atomically(tmp_path / "afterwards", "")


def test_a_write_that_was_begun_before_the_run_was_lost_is_not_finished(tmp_path: Path) -> None:
    def write(beside: Path) -> None:
        beside.write_text("late")
        elsewhere(tmp_path)

    with Lock(tmp_path).acquire(), pytest.raises(LockedError):
        write_atomically(tmp_path / "checkpoint", write)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["holder.json", "lock"]


@pytest.mark.parametrize("content", ["[1]", "7", "[" * 100_000, "\ud800".encode("utf-8", "ignore")])
def test_a_holder_that_cannot_be_read_is_nobody(tmp_path: Path, content: str | bytes) -> None:
    text = content if isinstance(content, bytes) else content.encode()
    Lock(tmp_path).holder_file.write_bytes(text)
    assert not Lock(tmp_path).is_locked
    with Lock(tmp_path).acquire():
        assert Lock(tmp_path).holder()["pid"] == os.getpid()
