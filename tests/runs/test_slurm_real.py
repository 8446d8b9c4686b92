"""The slurm launcher on a real Slurm: one node on loopback, with two GPUs that are none.

`pytest -n 0 -m slow`: side by side each process would start a cluster of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from tests.runs.builders import Bench, do, predictions, rows
from tests.runs.slurm_daemons import missing, slurm
from tests.runs.toys import Quiet
from tests.traps import set_traps
from vlbench.config import SlurmSettings
from vlbench.runs.folder import RunFolder
from vlbench.runs.launch import Resources
from vlbench.runs.slurm import SlurmLauncher, cancel_job
from vlbench.runs.spec import RunSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"no Slurm: {missing()}"),
]
PATIENCE_SECONDS = 400.0
LONG = ("train.epochs=96", "train.batch_size=30", "train.dropout=0.1")
"""A run that is still training when somebody wants it to stop, on a fast machine too."""
T = TypeVar("T")


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with slurm(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture
def cluster(_cluster: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Our commands talk to it, and every run wants a GPU."""
    monkeypatch.setenv("SLURM_CONF", str(_cluster))
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "2")
    yield bench
    command("scancel", "--user=root")
    until(lambda: not command("squeue", "--noheader"))


def command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def until(look: Callable[[], T]) -> T:
    """What it gives as soon as that is something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)
    return found


def vlbench(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", "vlbench", *words], stdout=file, stderr=file)


def submitted(specs: list[RunSpec], results: Path, **settings: object) -> list[RunFolder]:
    given = Resources(launcher="slurm", slurm=SlurmSettings(**settings))  # type: ignore[arg-type]
    outcomes = SlurmLauncher(given).run(specs, results, Quiet())  # type: ignore[arg-type]
    assert {(outcome.status, outcome.exit_code) for outcome in outcomes} == {("queued", 0)}
    return [outcome.folder for outcome in outcomes]


def devices_of(folders: list[RunFolder]) -> dict[str, str]:
    """Run key -> the GPU that its worker sees now, for all that are at work."""
    found = {}
    for folder in folders:
        pid = folder.lock.holder().get("pid")
        try:
            text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        table = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
        assert not [name for name in table if name.startswith("SLURM_")]
        found[folder.path.name] = table["CUDA_VISIBLE_DEVICES"]
    return found


def test_a_plan_of_six_goes_through_two_gpus_as_one_array_though_started_twice(
    cluster: Bench, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    more = ("--seeds", "0,1,2,3,4,5", "--limit", "12", "--launcher", "slurm")
    words = cluster.words(*more, "--results", str(results))
    logs = [tmp_path / "one", tmp_path / "other"]
    commands = [vlbench(words, log) for log in logs]
    seen: list[dict[str, str]] = []
    folders: list[RunFolder] = []
    while len(folders) < 6 or any(folder.state != "done" for folder in folders):
        folders = RunFolder.all(results)
        seen.append(devices_of(folders))
        time.sleep(0.1)
    texts = [log.read_text() for log in logs]
    assert [command.wait() for command in commands] == [0, 0], texts
    assert sorted("6 runs submitted as Slurm job" in text for text in texts) == [False, True]
    assert [folder.attempts() for folder in folders] == [1] * 6
    jobs = [str(folder.job()["job"]).split("_") for folder in folders]
    assert len({array for array, _ in jobs}) == 1 and {task for _, task in jobs} == set("012345")
    assert {key for devices in seen for key in devices} == {folder.path.name for folder in folders}
    assert all(len(set(devices.values())) == len(devices) for devices in seen), "two on one GPU"
    assert {gpu for devices in seen for gpu in devices.values()} == {"0", "1"}


@pytest.mark.timeout(600)  # on a machine that does other work
def test_a_run_that_is_requeued_goes_on_and_ends_as_if_undisturbed(
    cluster: Bench, tmp_path: Path
) -> None:
    """First as an administrator does it, then as Slurm warns of a time limit or preempts."""
    spec = cluster.spec(settings=LONG)
    (folder,) = submitted([spec], tmp_path / "results")
    job = str(folder.job()["job"])
    steps: list[int] = []
    for disturb in (("scontrol", "requeue"), ("scancel", "--signal=USR2")):
        wanted = max(steps, default=0) + 3
        until(partial(is_training, folder, wanted))
        command(*disturb, job)
        until(lambda: "preempted" in last_event(folder))
        steps.append(int(folder.checkpoints.files()[0].name.split("-")[1]))
        until(lambda: "PENDING" in command("squeue", "--noheader", "--format=%T"))
        time.sleep(2)  # Slurm starts nothing in the second in which it killed it
        command("scontrol", "update", f"JobId={job}", "StartTime=now")  # not in two minutes
    until(lambda: folder.state == "done")
    text = folder.log.read_text()
    for step in steps:
        assert f"going on from the checkpoint after step {step:,} of" in text
    assert "requeued: Slurm job" in text
    assert folder.attempts() == 3
    undisturbed = do(spec, tmp_path / "undisturbed")
    assert rows(folder) == rows(undisturbed)
    assert predictions(folder) == predictions(undisturbed)


def is_training(folder: RunFolder, step: int) -> bool:
    status = folder.status()
    return status.get("phase") == "training" and int(status.get("step", 0)) >= step


def last_event(folder: RunFolder) -> str:
    lines = folder.attempts_file.read_text().splitlines()
    return lines[-1] if lines else ""


def test_queued_and_running_runs_can_be_cancelled(cluster: Bench, tmp_path: Path) -> None:
    specs = [cluster.spec(seeds=(seed,), settings=LONG) for seed in range(3)]
    folders = submitted(specs, tmp_path / "results")
    until(lambda: sum(folder.state == "running" for folder in folders) == 2)
    assert sorted(folder.state for folder in folders) == ["queued", "running", "running"]
    for folder in folders:
        folder.cancel_file.touch()
        cancel_job(folder)
    until(lambda: all(folder.state == "cancelled" for folder in folders))
    assert sorted(folder.attempts() for folder in folders) == [0, 1, 1]
    until(lambda: not command("squeue", "--noheader"))
    cancel_job(folders[0])  # Slurm has forgotten it, or will; no error


def test_a_job_takes_a_method_but_no_import_from_the_folder_it_was_submitted_from(
    cluster: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither submitit's process, nor the worker; a setting stays one word of its line."""
    told = set_traps(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("slurm_mine.py").write_text(
        "from slurm_near import BitFit\nclass Mine(BitFit):\n    pass\n"
    )
    Path("slurm_near.py").write_text("from vlbench.techniques.selective import BitFit\n")
    spec = cluster.spec("bitfit", settings=("technique=slurm_mine:Mine", "train.epochs=1"))
    comment = "a # b --wrap=x 'c' \"d\" $(touch told) -e"
    config = {"extra": {"comment": comment, "kill-on-invalid-dep": "yes"}}
    (folder,) = submitted([spec], tmp_path / "results", **config)
    job = str(folder.job()["job"])
    assert f"Comment={comment}" in command("scontrol", "show", "job", job)
    until(lambda: folder.state in ("done", "failed"))
    assert folder.state == "done", folder.log.read_text()
    assert not told.exists(), told.read_text()
