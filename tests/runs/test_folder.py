"""A run's folder: how far it is, what of it cannot be read, how it is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.test_spec import METHOD, SPEC
from vlbench.errors import NothingToReport, UsageError
from vlbench.runs.folder import PROGRESS, RunFolder, find_run, list_runs
from vlbench.runs.spec import RunSpec

OTHER = SPEC.model_copy(update={"method": METHOD.model_copy(update={"name": "other"})})
SECOND = SPEC.model_copy(update={"seed": 1, "settings": ("train.epochs=3",)})
LIMITED = SPEC.model_copy(update={"seed": 1, "limit": 9})
SMALL = ("status.json", "job.json", "holder.json")
TRAINING = {
    "phase": "training",
    "step": 1200,
    "total": 2400,
    "epoch": 2,
    "loss": 2.3141,
    "examples_per_second": 181.4,
    "seconds_left": 733.2,
}


def created(results: Path, spec: RunSpec = SPEC) -> RunFolder:
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return created(tmp_path)


def test_its_state_follows_what_happens(folder: RunFolder) -> None:
    assert folder.state == "planned"
    with folder.lock.acquire():
        folder.write_status("running", 1, step=3)
        assert folder.state == "running"
    assert folder.state == "stopped"
    folder.note_attempt(1, "began")
    folder.write_status("failed", 1, error="Loss is nan")
    assert folder.state == "failed"
    folder.job_file.write_text(json.dumps({"launcher": "slurm", "job": "7_0", "attempts": 1}))
    assert folder.state == "queued"
    folder.note_attempt(2, "began")
    assert folder.state == "failed"
    folder.result.touch()
    assert folder.state == "done"


def test_runs_are_listed_with_their_state_and_progress(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, done = created(tmp_path, LIMITED), created(tmp_path, SECOND)
    folder.write_status("running", 1, **TRAINING)
    failed.write_status("failed", 1, error="first\nfailed: last", **TRAINING)
    with folder.lock.acquire("GPU 0"):
        items, faults = list_runs(tmp_path)
    assert not faults
    first, planned, last = items
    assert [item["status"] for item in items] == ["running", "planned", "failed"]
    assert [item["scope"] for item in items] == ["complete", "complete", "smoke"]
    assert {name: first[name] for name in PROGRESS} == TRAINING
    assert first["where"].endswith(" GPU 0") and first["error"] == ""
    assert last["error"] == "first\nfailed: last" and last["where"] == ""
    assert {last[name] for name in PROGRESS} == {None}
    done.result.touch()
    assert list_runs(tmp_path)[0][1] == {**planned, "status": "done"}


@pytest.mark.parametrize("content", ["[1]", "", "[" * 100_000])
@pytest.mark.parametrize("name", SMALL)
def test_a_small_file_that_cannot_be_read_is_named_and_the_run_is_listed(
    folder: RunFolder, tmp_path: Path, name: str, content: str
) -> None:
    (folder.path / name).write_text(content)
    items, faults = list_runs(tmp_path)
    assert [item["status"] for item in items] == ["planned"]
    assert [str(fault).partition(": ")[0] for fault in faults] == [str(folder.path / name)]


@pytest.mark.skipif(shutil.which("setpriv") is None or os.getuid() != 0, reason="needs root")
def test_a_run_folder_of_somebody_else_is_named_as_left_out(
    folder: RunFolder, tmp_path: Path
) -> None:
    other = created(tmp_path, SECOND)
    os.chown(other.path, 65534, 65534)
    other.path.chmod(0o700)
    program = (
        "import sys; from pathlib import Path; from vlbench.runs.folder import list_runs\n"
        "items, faults = list_runs(Path(sys.argv[1])); print(len(items), *faults)"
    )
    powers = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
    command = [*powers, sys.executable, "-c", program, str(tmp_path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text.startswith(f"1 {other.path}: cannot be read: Permission denied.")


def test_what_is_no_run_or_cannot_be_read_hides_no_other_run(
    folder: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "gone").symlink_to("nowhere")
    (tmp_path / "runs" / "README").write_text("a file is no run")
    broken = tmp_path / "runs" / "broken" / "spec.json"
    broken.parent.mkdir()
    broken.write_text("{")
    items, faults = list_runs(tmp_path)
    assert [item["key"] for item in items] == [SPEC.key]
    assert "runs/gone: cannot be read: No such file or directory" in str(faults[0])
    assert str(broken) in str(faults[1]) and len(faults) == 2
    assert find_run(tmp_path, "brok").path == broken.parent


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for spec in (SPEC, OTHER, SECOND):
        created(folder, spec)
    return folder


def test_a_run_is_named_by_its_key_or_by_words(results: Path, tmp_path: Path) -> None:
    for text, spec in ((SPEC.key[:6], SPEC), ("other", OTHER), ("mine seed 1", SECOND)):
        assert find_run(results, text).path.name == spec.key
    name = "mine, train.epochs=3, gqa, mini-bart, seed 1"
    assert find_run(results, name).path.name == SECOND.key
    with pytest.raises(UsageError, match="'mine' names 2 runs:") as raised:
        find_run(results, "mine")
    assert f"  {SPEC.key}  mine, gqa, mini-bart, seed 0" in str(raised.value)
    for text in ("nothing", "mine seed 7", "", " "):
        with pytest.raises(UsageError, match=f"No run '{text}' in .*vlbench list runs --results"):
            find_run(results, text)
    with pytest.raises(NothingToReport, match="no runs here"):
        find_run(tmp_path, "mine")
