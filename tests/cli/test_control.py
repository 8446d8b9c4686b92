"""`vlbench cancel` and `vlbench retry`."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.running.builders import Bench, do, work_in_process
from tests.running.test_spec import SPEC
from vlbench.cli.app import app
from vlbench.running.folder import RunFolder


def folder_of(results: Path, seed: int = 0) -> RunFolder:
    spec = SPEC.model_copy(update={"seed": seed})
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    return folder


def cancel(results: Path, *words: str) -> list[dict[str, str]]:
    done = CliRunner().invoke(app, ["cancel", *words, "--results", str(results), "--json"])
    assert done.exit_code == 0, done.output
    items: list[dict[str, str]] = json.loads(done.stdout)["items"]
    return items


def test_a_run_at_work_is_told_and_waited_for(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)

    def work() -> None:
        with folder.lock.acquire("cpu"):
            folder.write_status("running", 1)
            at_work.set()
            while not folder.is_cancel_asked:
                time.sleep(0.01)
            folder.write_status("cancelled", 1)

    at_work = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    assert at_work.wait(5)
    (item,) = cancel(tmp_path, folder.path.name[:6])
    thread.join()
    assert (item["before"], item["status"], item["outcome"]) == (
        "running", "cancelled", "cancelled"
    )  # fmt: skip


def test_a_planned_run_will_not_begin_and_a_done_one_is_left(tmp_path: Path) -> None:
    planned, done = folder_of(tmp_path, 0), folder_of(tmp_path, 1)
    done.result.touch()
    (item,) = cancel(tmp_path, "--all")
    assert (item["key"], item["outcome"]) == (planned.path.name, "will not begin")
    assert planned.is_cancel_asked and not done.is_cancel_asked


@pytest.mark.parametrize("words", [[], ["--all", "seed 0"], ["ffff"]])
def test_what_names_no_run_exits_2(tmp_path: Path, words: list[str]) -> None:
    folder_of(tmp_path)
    done = CliRunner().invoke(app, ["cancel", *words, "--results", str(tmp_path)])
    assert done.exit_code == 2, done.output


def test_retry_goes_on_with_what_ended_badly(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in_process(monkeypatch)
    monkeypatch.setattr("vlbench.running.execute.train_and_test", lambda run: 1 / 0)
    folder = do(bench.spec(limit=2), tmp_path, code=5)
    monkeypatch.undo()
    monkeypatch.setenv("VLBENCH_CACHE", str(bench.root.parent / "cache"))
    work_in_process(monkeypatch)
    done = CliRunner().invoke(app, ["retry", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert folder.state == "done"
    assert "1 of 1 runs done" in done.stderr
    again = CliRunner().invoke(app, ["retry", "--results", str(tmp_path)])
    assert "nothing to retry" in again.stderr


def test_a_run_that_cannot_be_told_keeps_no_other_from_ending(tmp_path: Path) -> None:
    first, second = sorted((folder_of(tmp_path, seed) for seed in (0, 1)), key=lambda it: it.path)
    first.cancel_file.symlink_to(tmp_path / "nowhere" / "file")
    done = CliRunner().invoke(app, ["cancel", "--all", "--results", str(tmp_path)])
    assert done.exit_code == 1, done.output
    assert f"{first.path}: cannot be written" in done.stderr
    assert second.is_cancel_asked


def test_retry_names_what_it_cannot_read_and_does_the_others(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = folder_of(tmp_path)
    broken.write_status("failed", 1)
    broken.spec_file.write_text("[" * 100_000)
    folder = RunFolder.of(tmp_path, bench.spec(limit=2))
    folder.create(bench.spec(limit=2))
    folder.write_status("failed", 1)
    work_in_process(monkeypatch)
    done = CliRunner().invoke(app, ["retry", "--results", str(tmp_path)])
    assert done.exit_code == 3, done.output
    assert f"Left out: {broken.spec_file}: not a run's spec: nested too deeply" in done.stderr
    assert folder.state == "done"
