"""`vlbench status` and `logs`: what they print, off a terminal and on one."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.command import assert_refused, items, vlbench
from tests.runs.test_folder import TRAINING
from tests.runs.test_spec import SPEC
from tests.runs.test_watch import folder_of, log
from vlbench.runs.folder import RunFolder

SPECS = [SPEC.model_copy(update={"seed": seed}) for seed in range(4)]


@pytest.fixture
def folders(tmp_path: Path) -> list[RunFolder]:
    done, failed, running, planned = (folder_of(tmp_path, spec) for spec in SPECS)
    done.result.touch()
    failed.write_status("failed", 1, error="Traceback\nValueError: no", exit_code=5)
    running.write_status("running", 1, **TRAINING)
    return [done, failed, running, planned]


def status(results: Path, *words: str) -> Result:
    return vlbench("status", "--results", results, *words)


def test_runs_that_are_not_done_are_listed_and_all_are_counted(
    tmp_path: Path, folders: list[RunFolder]
) -> None:
    with folders[2].lock.acquire("GPU 0"):
        result = status(tmp_path)
    assert result.exit_code == 0
    head, running, failed, planned, count = result.stdout.splitlines()
    assert re.split(r"\s{2,}", head) == [
        *("key", "method", "seed", "status", "phase", "step"),
        *("loss", "ex/s", "eta", "where", "error"),
    ]
    start = f"{SPECS[2].key[:8]} mine 2 running epoch 2 1,200/2,400 2.314 181 12 min 13 s "
    assert " ".join(running.split()).startswith(start)
    assert running.endswith(" GPU 0")
    assert failed.split()[:4] == [SPECS[1].key[:8], "mine", "1", "failed"]
    assert failed.endswith("  ValueError: no")
    assert planned.split() == [SPECS[3].key[:8], "mine", "3", "planned"]
    assert count == "1 done, 1 running, 1 failed, 1 planned (--all lists those done)."


def test_all_lists_those_done_too(tmp_path: Path, folders: list[RunFolder]) -> None:
    lines = status(tmp_path, "--all").stdout.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "1 done, 1 failed, 1 planned, 1 stopped."
    folder_of(tmp_path / "other", SPEC).result.touch()
    assert status(tmp_path / "other").stdout == "1 done (--all lists those done).\n"


def test_columns_tell_where_runs_differ(tmp_path: Path) -> None:
    folder_of(tmp_path, SPEC)
    folder_of(tmp_path, SPEC.model_copy(update={"settings": ("train.epochs=3",), "suite": "other"}))
    head, *lines, _ = status(tmp_path).stdout.splitlines()
    assert head.split() == ["key", "method", "settings", "suite", "seed", "status"]
    assert {tuple(line.split()[2:]) for line in lines} == {
        ("gqa", "0", "planned"),
        ("train.epochs=3", "other", "0", "planned"),
    }


def test_json_has_every_run_with_unrounded_numbers(
    tmp_path: Path, folders: list[RunFolder]
) -> None:
    with folders[2].lock.acquire("GPU 0"):
        running, failed, *others = items(status(tmp_path, "--json"), "status")
    assert len(others) == 2
    assert running | {**TRAINING, "status": "running", "seed": 2} == running
    assert failed["error"] == "Traceback\nValueError: no" and failed["loss"] is None


def test_what_cannot_be_shown_ends_in_its_exit_code(
    tmp_path: Path, folders: list[RunFolder]
) -> None:
    assert status(tmp_path, "--watch").stdout == status(tmp_path).stdout  # nothing is at work
    folders[3].spec_file.write_text("{")
    result = status(tmp_path)
    assert result.exit_code == 3 and "1 failed" in result.stdout
    assert f"{folders[3].spec_file}: not a run's spec" in result.stderr
    assert_refused(status(tmp_path / "none"), 4, f"{tmp_path / 'none'}: no runs here")


@pytest.mark.slow
@pytest.mark.parametrize("is_interrupted", [True, False])
def test_a_watched_table_goes_on_until_the_end_or_ctrl_c(
    tmp_path: Path, folders: list[RunFolder], is_interrupted: bool
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vlbench", "status", "--watch", "--results", str(tmp_path)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with folders[2].lock.acquire("GPU 0"):
        process = subprocess.Popen(
            command,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # where the tests run in the background, the shell has them ignore it
        os.close(theirs)
        seen = b""
        while seen.count(b"1,200/2,400") < 2:  # shown, and shown again
            seen += os.read(ours, 65536)
        if is_interrupted:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
    if not is_interrupted:
        folders[2].result.touch()
        assert process.wait(timeout=20) == 0
    seen += _rest(ours)
    os.close(ours)
    assert b"\x1b[?25h" in seen  # the cursor is back
    assert (b"2 done, 1 failed, 1 planned" in seen) != is_interrupted


def _rest(terminal: int) -> bytes:
    found = b""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            found += os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return found
    return found


def logs(results: Path, *words: str) -> Result:
    return vlbench("logs", "--results", results, *words)


def test_a_log_is_printed(tmp_path: Path) -> None:
    log(folder_of(tmp_path, SPEC), "2026-11-23 08:40:00  one\ntwo\nnot whole")
    whole = "2026-11-23 08:40:00  one\ntwo\nnot whole\n"
    for run in ("mine", SPEC.key[:5]):
        assert logs(tmp_path, run).stdout == whole
    assert_refused(logs(tmp_path, "nothing"), 2, "No run 'nothing'")


def test_a_run_that_said_nothing_exits_4(tmp_path: Path) -> None:
    folder_of(tmp_path, SPEC)
    for more in ([], ["--follow"]):
        assert_refused(logs(tmp_path, "mine", *more), 4, "no log yet, the run is planned")


def test_following_goes_on_until_the_run_ends(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, SPEC)
    log(folder, "one\ntwo\n")
    over = threading.Event()

    def work() -> None:
        with folder.lock.acquire("cpu"):
            over.wait(10)
            time.sleep(0.1)
            log(folder, "thr")
            time.sleep(0.7)
            log(folder, "ee\nfour")
            folder.write_status("failed", 1, error="no")

    worker = threading.Thread(target=work)
    worker.start()
    while folder.state != "running":
        time.sleep(0.01)
    over.set()
    result = logs(tmp_path, "mine", "--follow")
    worker.join()
    assert result.exit_code == 0
    assert result.stdout == "one\ntwo\nthree\nfour\n"
