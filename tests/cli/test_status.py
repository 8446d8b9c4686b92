"""`vlbench status` and `logs`: what they print, off a terminal and on one."""

from __future__ import annotations

import re
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
    folders[3].spec_file.write_text("{")
    result = status(tmp_path)
    assert result.exit_code == 3 and "1 failed" in result.stdout
    assert f"{folders[3].spec_file}: not a run's spec" in result.stderr
    assert_refused(status(tmp_path / "none"), 4, f"{tmp_path / 'none'}: no runs here")


def logs(results: Path, *words: str) -> Result:
    return vlbench("logs", "--results", results, *words)


def test_a_log_is_printed(tmp_path: Path) -> None:
    log(folder_of(tmp_path, SPEC), "2026-11-23 08:40:00  one\ntwo\nnot whole")
    whole = "2026-11-23 08:40:00  one\ntwo\nnot whole\n"
    for run in ("mine", SPEC.key[:5]):
        assert logs(tmp_path, run).stdout == whole
    assert_refused(logs(tmp_path, "nothing"), 2, "No run 'nothing'")
