"""`vlbench status` and `logs`: what they print, off a terminal and on one."""

from __future__ import annotations

import json
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
from typer.testing import CliRunner, Result

from tests.runs.test_spec import SPEC
from tests.runs.test_watch import TRAINING, folder_of, log
from vlbench.cli.app import app
from vlbench.cli.status import fitting
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
    return CliRunner().invoke(app, ["status", "--results", str(results), *words])


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


def test_columns_tell_where_runs_differ(tmp_path: Path) -> None:
    folder_of(tmp_path, SPEC)
    folder_of(tmp_path, SPEC.model_copy(update={"settings": ("train.epochs=3",), "suite": "other"}))
    head, *lines, _ = status(tmp_path).stdout.splitlines()
    assert head.split() == ["key", "method", "settings", "suite", "seed", "status"]
    assert {tuple(line.split()[2:]) for line in lines} == {
        ("gqa", "0", "planned"),
        ("train.epochs=3", "other", "0", "planned"),
    }


def test_a_narrow_terminal_has_the_errors_below_and_fewer_columns() -> None:
    columns = ["key", "method", "status", "phase", "step", "loss", "ex/s", "where", "error"]
    progress = ["epoch 2", "1,200/2,400", "2.314", "181", "node7 GPU 0"]
    rows = [
        ["7325e8dd", "compacter", "running", *progress, ""],
        ["aa06af09", "full", "failed", *[""] * len(progress), "ValueError: no"],
    ]
    assert fitting(columns, rows, 200) == (columns, rows, [])
    for width, gone in ((90, set()), (70, {"ex/s"}), (50, {"ex/s", "loss", "phase", "where"})):
        fewer, fewer_rows, below = fitting(columns, rows, width)
        assert below == ["aa06af09: ValueError: no"]
        assert fewer == [name for name in columns[:-1] if name not in gone]
        assert fewer_rows == [[row[columns.index(name)] for name in fewer] for row in rows]


def test_json_has_every_run_with_unrounded_numbers(
    tmp_path: Path, folders: list[RunFolder]
) -> None:
    with folders[2].lock.acquire("GPU 0"):
        document = json.loads(status(tmp_path, "--json").stdout)
    assert document["schema"] == "vlbench.status/1"
    running, failed, *_ = document["items"]
    assert len(document["items"]) == 4
    assert running | {**TRAINING, "status": "running", "seed": 2} == running
    assert failed["error"] == "Traceback\nValueError: no" and failed["loss"] is None


def test_when_all_is_done_a_line_says_so(tmp_path: Path) -> None:
    folder_of(tmp_path, SPEC).result.touch()
    assert status(tmp_path).stdout == "1 done (--all lists those done).\n"


def test_an_unreadable_run_is_told_beside_the_others(
    tmp_path: Path, folders: list[RunFolder]
) -> None:
    folders[3].spec_file.write_text("{")
    result = status(tmp_path)
    assert result.exit_code == 3
    assert f"{folders[3].spec_file}: not a run's spec" in result.stderr


def test_a_folder_without_runs_exits_4(tmp_path: Path) -> None:
    result = status(tmp_path)
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"{tmp_path}: no runs here" in result.stderr


def test_watching_is_for_a_terminal(tmp_path: Path, folders: list[RunFolder]) -> None:
    result = status(tmp_path, "--watch")
    assert result.exit_code == 2
    assert "--watch is for a terminal" in result.stderr


HEAVY = {"torch", "transformers", "accelerate", "peft", "pandas"}
COMMANDS = [["status"], ["logs", "seed 1"], ["cancel", "--all"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_looking_and_cancelling_import_nothing_heavy(
    tmp_path: Path, folders: list[RunFolder], words: list[str]
) -> None:
    folders[1].log.write_text("said\n")
    program = (
        "import sys\n"
        "from vlbench.cli.app import main\n"
        f"sys.argv = ['vlbench', *{words}, '--results', {str(tmp_path)!r}]\n"
        "try:\n    main()\n"
        f"finally:\n    print(sorted({HEAVY} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_on_a_terminal_the_table_goes_on_until_the_end_or_ctrl_c(
    tmp_path: Path, folders: list[RunFolder], is_interrupted: bool
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vlbench", "status", "--results", str(tmp_path)]
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
    assert seen.rstrip().endswith(b"\x1b[?25h")  # the cursor is back
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
    return CliRunner().invoke(app, ["logs", "--results", str(results), *words])


def test_the_log_is_printed_as_it_is(tmp_path: Path) -> None:
    log(folder_of(tmp_path, SPEC), "2026-11-23 08:40:00  one\ntwo\nnot whole")
    for run in ("mine", SPEC.key[:5]):
        result = logs(tmp_path, run)
        assert result.exit_code == 0
        assert result.stdout == "2026-11-23 08:40:00  one\ntwo\nnot whole\n"


@pytest.mark.parametrize(("count", "text"), [("2", "two\nthree\n"), ("9", None), ("0", "")])
def test_the_last_lines_alone(tmp_path: Path, count: str, text: str | None) -> None:
    log(folder_of(tmp_path, SPEC), "one\ntwo\nthree\n")
    assert logs(tmp_path, "mine", "--lines", count).stdout == (
        "one\ntwo\nthree\n" if text is None else text
    )


def test_a_run_that_said_nothing_exits_4(tmp_path: Path) -> None:
    folder_of(tmp_path, SPEC)
    for more in ([], ["--follow"]):
        result = logs(tmp_path, "mine", *more)
        assert result.exit_code == 4
        assert "no log yet, the run is planned" in result.stderr


def test_what_is_no_run_exits_2(tmp_path: Path) -> None:
    folder_of(tmp_path, SPEC)
    result = logs(tmp_path, "nothing")
    assert result.exit_code == 2 and "No run 'nothing'" in result.stderr


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
    result = logs(tmp_path, "mine", "--follow", "--lines", "1")
    worker.join()
    assert result.exit_code == 0
    assert result.stdout == "two\nthree\nfour\n"
    assert result.stderr == "The run is failed.\n"
