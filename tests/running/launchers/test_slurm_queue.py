"""What is asked of squeue and scancel, and what follows from their answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.running.launchers.slurm_commands import FakeSlurm, fake_slurm
from tests.running.launchers.toys import toy_specs
from vlbench.errors import MissingError
from vlbench.running.folder import RunFolder
from vlbench.running.launchers.slurm_job import cancel_job, look


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return fake_slurm(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that waits for its job."""
    (spec,) = toy_specs(1)
    folder = RunFolder.of(tmp_path / "results", spec)
    folder.create(spec)
    folder.job_file.write_text(json.dumps({"launcher": "slurm", "job": "7_1", "attempts": 0}))
    assert folder.state == "queued"
    return folder


def test_squeue_is_asked_once_for_all_arrays(cluster: FakeSlurm) -> None:
    cluster.answer("squeue", "7_0|PENDING|Resources\n7_1|RUNNING|None\n9|PENDING|BadConstraints")
    found = look(["7_1", "9", "8_0"])
    assert {job: each.state for job, each in found.items()} == {"7_1": "RUNNING", "9": "PENDING"}
    assert found["9"].hindrance.startswith("BadConstraints: no node has what it asks for")
    assert not found["7_1"].hindrance
    (words,) = cluster.asked("squeue")
    assert "--jobs=7,8,9" in words
    assert "--array" in words
    assert not look([])


def test_a_reason_with_details_is_still_known(cluster: FakeSlurm) -> None:
    cluster.answer("squeue", "9|PENDING|ReqNodeNotAvail, UnavailableNodes:n1")
    assert "the node it needs is not available" in look(["9"])["9"].hindrance


def test_an_unknown_job_is_gone_and_a_silent_controller_is_an_error(cluster: FakeSlurm) -> None:
    cluster.refuse("squeue", "slurm_load_jobs error: Invalid job id specified")
    assert look(["7_1"]) == {}
    cluster.refuse("squeue", "Unable to contact slurm controller (connect failure)")
    with pytest.raises(MissingError, match="squeue: Unable to contact"):
        look(["7_1"])


def test_a_user_s_own_squeue_settings_change_nothing(
    cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQUEUE_STATES=all would list jobs that are over."""
    program = cluster.home / "commands" / "squeue"
    text = program.read_text().replace("print(answer", 'print(os.environ.get("SQUEUE_STATES"))#')
    program.write_text(text)
    monkeypatch.setenv("SQUEUE_STATES", "9|COMPLETED|None")
    assert look(["9"]) == {}


def test_cancelling_a_queued_run_takes_its_job_away(cluster: FakeSlurm, folder: RunFolder) -> None:
    cancel_job(folder)
    assert cluster.asked("scancel") == ["--state=PENDING 7_1"]
    assert folder.state == "cancelled"
    assert folder.status()["error"] == "cancelled before it began"
    assert folder.attempts() == 0


def test_cancelling_a_running_one_leaves_it_to_its_worker(
    cluster: FakeSlurm, folder: RunFolder
) -> None:
    cluster.answer("squeue", "7_1|RUNNING|None")
    cancel_job(folder)
    assert folder.state == "queued"  # until the worker begins, and sees the file
    assert folder.job()["job"] == "7_1"


def test_cancelling_what_has_no_job_asks_nothing(cluster: FakeSlurm, folder: RunFolder) -> None:
    folder.job_file.unlink()
    cancel_job(folder)
    assert not cluster.asked("scancel")


def test_scancel_s_refusal_is_told(
    cluster: FakeSlurm, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster.refuse("scancel", "scancel: error: Access/permission denied")
    with pytest.raises(MissingError, match=r"scancel 7_1: .*permission denied"):
        cancel_job(folder)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="scancel: not found on PATH, so Slurm job 7_1"):
        cancel_job(folder)
