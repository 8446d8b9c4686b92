"""`vlbench logs`: what a run said, and while it says more."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.running.test_spec import SPEC
from tests.running.test_watch import made, say
from vlbench.cli.app import app


def logs(results: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["logs", "--results", str(results), *words])


def test_the_log_is_printed_as_it_is(tmp_path: Path) -> None:
    say(made(tmp_path, SPEC), "2026-11-23 08:40:00  one\ntwo\nnot whole")
    for run in ("mine", SPEC.key[:5]):
        result = logs(tmp_path, run)
        assert result.exit_code == 0
        assert result.stdout == "2026-11-23 08:40:00  one\ntwo\nnot whole\n"


@pytest.mark.parametrize(("count", "text"), [("2", "two\nthree\n"), ("9", None), ("0", "")])
def test_the_last_lines_alone(tmp_path: Path, count: str, text: str | None) -> None:
    say(made(tmp_path, SPEC), "one\ntwo\nthree\n")
    assert logs(tmp_path, "mine", "--lines", count).stdout == (
        "one\ntwo\nthree\n" if text is None else text
    )


def test_a_run_that_said_nothing_exits_4(tmp_path: Path) -> None:
    made(tmp_path, SPEC)
    for more in ([], ["--follow"]):
        result = logs(tmp_path, "mine", *more)
        assert result.exit_code == 4
        assert "no log yet, the run is planned" in result.stderr


def test_what_is_no_run_exits_2(tmp_path: Path) -> None:
    made(tmp_path, SPEC)
    result = logs(tmp_path, "nothing")
    assert result.exit_code == 2 and "No run 'nothing'" in result.stderr


def test_following_goes_on_until_the_run_ends(tmp_path: Path) -> None:
    folder = made(tmp_path, SPEC)
    say(folder, "one\ntwo\n")
    over = threading.Event()

    def work() -> None:
        with folder.lock.acquire("cpu"):
            over.wait(10)
            time.sleep(0.1)
            say(folder, "thr")
            time.sleep(0.7)
            say(folder, "ee\nfour")
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
