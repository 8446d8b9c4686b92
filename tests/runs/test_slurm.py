"""The slurm launcher and its jobs, on commands that only pretend to be Slurm's."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runs.slurm_commands import FakeSlurm, fake_slurm
from tests.runs.toys import PROGRAM, Quiet, make, toy_specs, use_toys
from vlbench.config import SlurmSettings
from vlbench.errors import MissingError, UsageError
from vlbench.runs.folder import RunFolder
from vlbench.runs.launch import Resources
from vlbench.runs.slurm import (
    RunJob,
    SlurmLauncher,
    cancel_job,
    job_name,
    queued,
    request,
    script,
    write_job,
)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    monkeypatch.delenv("VLBENCH_FAKE_GPUS", raising=False)
    return fake_slurm(tmp_path, monkeypatch)


def folders(cluster: FakeSlurm, count: int) -> list[RunFolder]:
    return [RunFolder.of(cluster.results, spec) for spec in toy_specs(count)]


def submit(cluster: FakeSlurm, count: int, **resources: object) -> list[str]:
    """What the launcher says of so many runs."""
    view, given = Quiet(), Resources(launcher="slurm", **resources)  # type: ignore[arg-type]
    outcomes = SlurmLauncher(given).run(toy_specs(count), cluster.results, view)
    assert {outcome.exit_code for outcome in outcomes} == {0}
    assert {outcome.status for outcome in outcomes} <= {"done", "queued"}
    return view.said


def test_a_plan_is_one_array_and_a_single_run_a_job(cluster: FakeSlurm) -> None:
    from submitit.core.utils import DelayedSubmission

    see = f"See: vlbench status --results {cluster.results}"
    lines = submit(cluster, 3)
    assert lines[0] == "3 runs submitted as Slurm job 7" and lines[1].startswith(see)
    assert "#SBATCH --array=0-2%3" in cluster.script
    assert "#SBATCH --requeue" in cluster.script
    assert "#SBATCH --open-mode=append" in cluster.script
    assert f"{sys.executable} -P -u -m submitit.core._submit" in cluster.script
    assert [folder.job()["job"] for folder in folders(cluster, 3)] == ["7_0", "7_1", "7_2"]
    assert [folder.state for folder in folders(cluster, 3)] == ["queued"] * 3
    for number, folder in enumerate(folders(cluster, 3)):
        file = cluster.results / "slurm" / f"7_{number}_submitted.pkl"
        assert DelayedSubmission.load(file).function == RunJob(folder.path.absolute(), 1)
    cluster.answer("squeue", "7_0\n7_1\n7_2")
    assert submit(cluster, 3)[0] == "3 runs queued or at work already"
    assert len(cluster.asked("sbatch")) == 1
    cluster.answer("sbatch", "Submitted batch job 9")
    submit(cluster, 4)
    assert "--array" not in cluster.script
    assert folders(cluster, 4)[3].job()["job"] == "9"


def test_only_what_is_not_done_and_not_queued_is_submitted(cluster: FakeSlurm) -> None:
    done, waiting, held, lost, failed = (make(cluster.results, spec) for spec in toy_specs(5))
    done.result.touch()
    for job, folder in (("5_1", waiting), ("5_2", lost), ("5_3", failed)):
        write_job(folder, job, 0)
    failed.note_attempt(1, "began")
    failed.write_status("failed", 1)
    cluster.answer("squeue", "5_1\n5_9\n5_3")
    with held.lock.acquire("GPU 0"):
        lines = submit(cluster, 5)
    assert len(cluster.asked("sbatch")) == 1
    assert (lost.job()["job"], failed.job()["job"], waiting.job()["job"]) == ("7_0", "7_1", "5_1")
    assert lines[0].endswith(f"done before, {done.path}")
    assert lines[1:3] == ["2 runs submitted as Slurm job 7", "2 runs queued or at work already"]
    assert any("--jobs=5" in words for words in cluster.asked("squeue"))


def test_a_refused_request_is_one_message_and_leaves_nothing_behind(
    cluster: FakeSlurm, capfd: pytest.CaptureFixture[str]
) -> None:
    refusal = "sbatch: error: invalid partition specified: nosuch\nsbatch: error: Batch job failed"
    cluster.refuse("sbatch", refusal)
    text = r"refused the jobs: invalid partition specified: nosuch; Batch job failed. .*\[slurm\]"
    with pytest.raises(MissingError, match=text):
        submit(cluster, 2, slurm=SlurmSettings(partition="nosuch"))
    assert capfd.readouterr().err == ""
    assert {file.name for file in (cluster.results / "slurm").iterdir()} == {"lock"}
    assert [folder.state for folder in folders(cluster, 2)] == ["planned"] * 2
    cluster.patch.setenv("PATH", str(cluster.home))
    with pytest.raises(MissingError, match="sbatch: not found on PATH"):
        submit(cluster, 1)


def test_a_dry_run_shows_the_script_that_would_be_submitted_and_writes_nothing(
    cluster: FakeSlurm,
) -> None:
    settings = SlurmSettings(
        partition="gpu", time_minutes=90, cpus_per_task=4, memory_gb=15.5, setup=("module load x",)
    )
    launcher = SlurmLauncher(Resources(slurm=settings))
    text = launcher.dry_run(toy_specs(2), cluster.results)
    assert not cluster.results.exists()
    shown, _, tasks = text.partition("# task 0: ")
    one, _ = folders(cluster, 2)
    assert tasks.startswith(f"{toy_specs(1)[0].name}, {one.path}\n# task 1: ")
    submit(cluster, 2, slurm=settings)
    assert cluster.script.strip() == shown.strip()
    assert "nothing to submit" in launcher.dry_run(toy_specs(2), cluster.results)


def test_variables_of_a_job_around_the_launcher_and_those_that_overrule_settings_go(
    cluster: FakeSlurm,
) -> None:
    passed, dropped = {"SLURM_CONF"}, {"SLURM_JOB_ID", "SBATCH_PARTITION"}
    for name in {"SUBMITIT_PREEMPT_SIGNAL", *passed, *dropped}:
        cluster.patch.setenv(name, "USR1\ntouch x")  # no line of the script
    submit(cluster, 1, slurm=SlurmSettings(partition="gpu", time_minutes=90))
    assert (passed | dropped) & cluster.environment == passed
    assert "#SBATCH --signal=USR2@90" in cluster.script


def test_neither_results_nor_names_are_lines_of_the_script(
    cluster: FakeSlurm, tmp_path: Path
) -> None:
    launcher, results = SlurmLauncher(Resources(launcher="slurm")), tmp_path / "a\ntouch b"
    for act in (launcher.dry_run, lambda specs, folder: launcher.run(specs, folder, Quiet())):
        with pytest.raises(UsageError, match=r"a\[U\+000A\]touch b: .*: no control characters"):
            act(toy_specs(1), results)
    assert not cluster.asked("sbatch")
    named = toy_specs(1)[0].model_copy(update={"suite": "mine\ntouch b"})
    assert "mine[U+000A]touch b" in launcher.dry_run([named], tmp_path)


def lines(device: str = "cpu", processes: int = 1, **settings: Any) -> list[str]:
    """The script's options."""
    given = Resources(processes=processes, slurm=SlurmSettings(**settings))
    text = script(request(given, [device]), Path("/results/slurm"), 3)
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if "#SBATCH" in line]


def test_settings_are_options_of_sbatch_and_what_is_left_out_the_cluster_decides() -> None:
    options = lines(
        partition="a,b",
        account="us",
        qos="low",
        constraint="a100",
        time_minutes=90,
        cpus_per_task=4,
        memory_gb=1.5,
        array_parallelism=2,
        signal_seconds=45,
    )
    names = ("partition=a,b", "account=us", "qos=low", "constraint=a100", "time=90")
    more = ("cpus-per-task=4", "mem=1536M", "array=0-2%2", "signal=USR2@45", "requeue")
    assert {f"--{name}" for name in (*names, *more)} <= set(options)
    given = {line.split("=")[0] for line in lines()}
    assert not given & {"--time", "--partition", "--account", "--mem", "--wckey", "--gpus-per-node"}
    limited = Resources(
        time_limit_minutes=7.5, slurm=SlurmSettings(time_minutes=90, cpus_per_task=6)
    )
    parameters = request(limited, ["cpu"])
    assert parameters["time"] == 8
    with pytest.raises(UsageError, match=r"limit of 2.5 minutes is too short: .* up to 180 s"):
        request(Resources(time_limit_minutes=2.5, slurm=SlurmSettings(signal_seconds=120)), ["cpu"])
    assert "--gpus-per-node=8" in lines("cuda", 2, gpus_per_node=8)
    assert {"--gpus-per-node=2", "--time=2-0"} < {*lines("cuda", 2, extra={"--time": "2-0"})}
    assert "--requeue" not in lines(extra={"requeue": False})
    text = script(parameters, Path("/results/slurm"), 1)
    assert "--cpus-per-task=6" in text.split("# command")[1]  # since 22.05 srun takes its own


def test_jobs_compute_on_gpus_whatever_the_machine_that_submits_them_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLBENCH_FAKE_GPUS", raising=False)
    for resources in (Resources(devices="0,1"), Resources(jobs=2)):
        with pytest.raises(UsageError, match="should be auto or cpu; array_parallelism in"):
            SlurmLauncher(resources)
    assert SlurmLauncher(Resources()).device == "cuda"
    assert SlurmLauncher(Resources(devices="cpu")).device == "cpu"
    assert SlurmLauncher(Resources(slurm=SlurmSettings(gpus_per_node=0))).device == "cpu"
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "2")
    assert SlurmLauncher(Resources()).device == "cpu"
    assert request(Resources(), ["cpu"])["gpus_per_node"] == 1
    assert request(Resources(devices="cpu"), ["cpu"])["gpus_per_node"] is None


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2Jb"])
@pytest.mark.parametrize("key", ["partition", "account", "qos", "constraint", "setup", "extra"])
def test_no_setting_is_more_than_a_line_of_the_script(key: str, text: str) -> None:
    value: object = {"setup": ["module load cuda", text], "extra": {"comment": text}}.get(key, text)
    with pytest.raises(ValueError, match=f"(?s){key}.*one line without control characters"):
        SlurmSettings.model_validate({key: value})


@pytest.mark.parametrize(
    "name", ["nice\n", "x\ntouch /tmp/x", "nice=5 --wrap", "a b", "", "--", "-c"]
)
def test_the_names_of_further_options_are_names(name: str) -> None:
    with pytest.raises(ValueError, match="should match pattern"):
        SlurmSettings.model_validate({"extra": {name: 1}})


WAIT = "stop_at = time.monotonic() + 20\nwhile time.monotonic() < stop_at: time.sleep(0.05)"
"""A worker that goes on until it is told to stop."""
FAILS = "folder.write_status('failed', 1, error='and left no result', exit_code=3); sys.exit(3)"


@pytest.fixture
def job(cluster: FakeSlurm) -> Iterator[FakeSlurm]:
    """We are task 1 of job 7."""
    use_toys(cluster.patch)
    for name, value in (("JOB_ID", "8"), ("ARRAY_JOB_ID", "7"), ("ARRAY_TASK_ID", "1")):
        cluster.patch.setenv(f"SLURM_{name}", value)
    yield cluster
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)


def queued_run(cluster: FakeSlurm, program: str = "") -> RunFolder:
    folder = make(cluster.results, toy_specs(1)[0], program)
    write_job(folder, "7_1", 0)
    return folder


def signalled(folder: RunFolder, number: int) -> None:
    """Send a signal to worker and job, as Slurm does, once the worker is at work."""

    def send() -> None:
        deadline = time.monotonic() + 20
        while folder.status().get("status") != "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(folder.lock.holder()["pid"], number)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def fails(folder: RunFolder) -> int:
    with pytest.raises(SystemExit) as caught:
        RunJob(folder.path)()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_job_does_its_run_and_says_where(job: FakeSlurm) -> None:
    folder = queued_run(job, "assert not [name for name in os.environ if name[:6] == 'SLURM_']")
    with folder.lock.acquire("GPU 0"):
        assert RunJob(folder.path)() == 75
    assert not folder.attempts_file.exists()
    assert RunJob(folder.path)() == 0
    assert folder.state == "done"
    assert '"where": "slurm 7_1"' in folder.attempts_file.read_text()


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_job_that_is_warned_is_requeued(job: FakeSlurm, is_refused: bool) -> None:
    folder = queued_run(job, WAIT)
    if is_refused:
        job.refuse("scontrol", "Requested operation is presently disabled")
    signalled(folder, signal.SIGUSR2)  # the worker would die of it
    assert fails(folder) == 130
    events = [json.loads(line)["event"] for line in folder.attempts_file.read_text().splitlines()]
    assert events == ["began", "preempted"]
    assert job.asked("scontrol") == ["requeue 7_1"]
    text = "requeued: Slurm job 7_1 goes on from the last checkpoint"
    text = "not requeued: scontrol 7_1: Requested operation is pres" if is_refused else text
    assert text in folder.log.read_text()
    assert folder.state == ("preempted" if is_refused else "queued")
    assert folder.job()["attempts"] == (0 if is_refused else 1)


def test_a_job_that_slurm_ends_or_that_was_cancelled_is_not_requeued(job: FakeSlurm) -> None:
    folder = queued_run(job, WAIT)
    signalled(folder, signal.SIGTERM)
    assert fails(folder) == 130
    assert folder.state != "queued" and not job.asked("scontrol")
    (folder.path / "program").write_text("raise Stopped('cancelled')")
    write_job(folder, "7_1", 1)
    fails(folder)
    assert folder.state == "cancelled" and not job.asked("scontrol")


@pytest.mark.parametrize(
    ("program", "code"), [(PROGRAM, 3), ("import sys; sys.exit(5)", 5), ("", 1)]
)
def test_a_worker_that_fails_with_or_without_a_word_is_a_failed_job_that_is_not_requeued(
    job: FakeSlurm, program: str, code: int
) -> None:
    folder = queued_run(job, FAILS)
    use_toys(job.patch, program)
    assert fails(folder) == code
    assert folder.state == "failed"
    assert "and left no result" in folder.status()["error"]
    assert not job.asked("scontrol")


def test_a_job_has_slurm_s_name_and_processors(job: FakeSlurm) -> None:
    job.patch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    job.patch.setenv("SLURM_CPUS_ON_NODE", "6")
    folder = queued_run(job, "(folder.path / 'threads').write_text(os.environ['OMP_NUM_THREADS'])")
    for given, processes, threads in (("", 1, 6), ("", 9, 1), ("4", 2, 2)):
        job.patch.setenv("SLURM_CPUS_PER_TASK", given)
        RunJob(folder.path, processes)()
        assert (folder.path / "threads").read_text() == str(threads)
        folder.result.unlink()
    assert job_name() == "7_1"
    job.patch.delenv("SLURM_ARRAY_JOB_ID")
    assert job_name() == "8"


def test_squeue_is_asked_once_for_all_arrays(cluster: FakeSlurm) -> None:
    cluster.answer("squeue", "7_0\n7_1\n9\n10")
    assert queued(["7_1", "9", "8_0", "10"]) == {"7_1", "9", "10"}
    (words,) = cluster.asked("squeue")
    assert "--jobs=10,7,8,9" in words and "--array" in words
    assert not queued(["", ""])
    cluster.refuse("squeue", "slurm_load_jobs error: Invalid job id specified")
    assert queued(["7_1"]) == set()
    cluster.refuse("squeue", "Unable to contact slurm controller (connect failure)")
    with pytest.raises(MissingError, match="squeue --jobs=7: Unable to contact"):
        queued(["7_1"])


def test_cancelling_takes_a_queued_job_away_and_leaves_a_running_one(cluster: FakeSlurm) -> None:
    folder = queued_run(cluster)
    cluster.answer("squeue", "7_1")
    cancel_job(folder)
    assert (folder.state, folder.job()["job"]) == ("queued", "7_1")  # until the worker sees it
    cluster.answer("squeue", "")
    cancel_job(folder)
    assert cluster.asked("scancel") == ["--state=PENDING 7_1"] * 2
    assert folder.state == "cancelled"
    assert folder.status()["error"] == "cancelled before it began"
    assert folder.attempts() == 0
    cancel_job(folder)  # it has no job any more
    assert len(cluster.asked("scancel")) == 2
    write_job(folder, "7_1", 0)
    cluster.refuse("scancel", "scancel: error: Access/permission denied")
    with pytest.raises(MissingError, match=r"scancel 7_1: .*permission denied"):
        cancel_job(folder)
