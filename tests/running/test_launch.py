"""One run after another, each in a worker of its own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.running.test_spec import SPEC
from vlbench.running import launch
from vlbench.running.folder import RunFolder
from vlbench.running.launch import run_all

SPECS = [SPEC.model_copy(update={"seed": seed}) for seed in range(3)]


class Workers:
    """Stand-ins: each ends with the code given for its seed."""

    def __init__(self, *codes: int) -> None:
        self.codes = codes
        self.worked: list[RunFolder] = []

    def __call__(self, folder: RunFolder) -> int:
        code = self.codes[len(self.worked)]
        self.worked.append(folder)
        if code > 0:
            folder.write_status("failed", 1, error=f"first line\nended with {code}")
        return code


def test_a_failed_run_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_work", Workers(0, 1, 0))
    outcomes = run_all(SPECS, tmp_path)
    assert [outcome.exit_code for outcome in outcomes] == [0, 1, 0]
    assert outcomes[1].error == "ended with 1"


def test_what_is_missing_for_one_is_missing_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_work", Workers(0, 3, 0))
    assert [outcome.exit_code for outcome in run_all(SPECS, tmp_path)] == [0, 3]


def test_what_is_done_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(0, 0)
    monkeypatch.setattr(launch, "_work", workers)
    done = RunFolder.of(tmp_path, SPECS[1])
    done.create(SPECS[1])
    done.result.touch()
    said: list[str] = []
    outcomes = run_all(SPECS, tmp_path, said.append)
    assert [outcome.was_done for outcome in outcomes] == [False, True, False]
    assert len(workers.worked) == 2
    assert "[2/3]" in said[1] and "done before" in said[1]


def test_an_interrupted_worker_interrupts_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in (130, -signal.SIGINT):
        workers = Workers(code, 0, 0)
        monkeypatch.setattr(launch, "_work", workers)
        with pytest.raises(KeyboardInterrupt):
            run_all(SPECS, tmp_path)
        assert len(workers.worked) == 1


def test_a_killed_worker_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_work", Workers(-signal.SIGKILL))
    (outcome,) = run_all(SPECS[:1], tmp_path)
    assert outcome.exit_code == 1
    assert "killed (SIGKILL)" in outcome.error


def test_a_worker_that_says_nothing_is_told_by_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_work", lambda folder: 5)
    (outcome,) = run_all(SPECS[:1], tmp_path)
    assert (outcome.exit_code, outcome.error) == (5, "exit code 5")
