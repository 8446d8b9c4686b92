"""The slurm launcher and its jobs, on commands that only pretend to be Slurm's."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.runs.slurm_commands import FakeSlurm, fake_slurm
from tests.runs.toys import PROGRAM, Quiet, make, toy_specs, use_toys
from vlbench.config import SlurmSettings
from vlbench.errors import MissingError, UsageError
from vlbench.runs import slurm
from vlbench.runs.folder import RunFolder
from vlbench.runs.launch import Outcome, Resources
from vlbench.runs.slurm import (
    RunJob,
    SlurmLauncher,
    cancel_job,
    job_name,
    look,
    request,
    script,
    write_job,
)


class Watching(Quiet):
    """A view that plays the cluster at each tick."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        super().__init__()
        self.acts = list(acts)

    def tick(self) -> None:
        assert self.acts, "the launcher still waits, and nothing more will happen"
        self.acts.pop(0)()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    for name in ("LOOK_SECONDS", "QUEUE_SECONDS"):
        monkeypatch.setattr(slurm, name, 0.0)
    monkeypatch.delenv("VLBENCH_FAKE_GPUS", raising=False)
    return fake_slurm(tmp_path, monkeypatch)


def do(folder: RunFolder) -> None:
    """What a worker leaves of a run that is done."""
    folder.note_attempt(1, "began")
    folder.result.touch()
    folder.note_attempt(1, "done")
    folder.write_status("done", 1)


def fail(folder: RunFolder, status: str, error: str) -> None:
    """What a worker leaves of a run that ended badly."""
    attempt = folder.attempts() + 1
    folder.note_attempt(attempt, "began")
    folder.note_attempt(attempt, status, error=error)
    folder.write_status(status, attempt, error=error, exit_code=1)


def nothing() -> None: ...


def folders(cluster: FakeSlurm, count: int) -> list[RunFolder]:
    return [RunFolder.of(cluster.results, spec) for spec in toy_specs(count)]


def run(cluster: FakeSlurm, count: int, view: Quiet, **resources: object) -> list[Outcome]:
    given = Resources(launcher="slurm", **resources)  # type: ignore[arg-type]
    return SlurmLauncher(given).run(toy_specs(count), cluster.results, view)


def detached(cluster: FakeSlurm, count: int, **resources: object) -> Quiet:
    view = Quiet()
    outcomes = run(cluster, count, view, detach=True, **resources)
    assert {outcome.exit_code for outcome in outcomes} == {0}
    return view


def test_a_plan_is_one_array_and_a_single_run_a_job(cluster: FakeSlurm) -> None:
    from submitit.core.utils import DelayedSubmission

    view = detached(cluster, 3)
    assert "#SBATCH --array=0-2%3" in cluster.script
    assert "#SBATCH --requeue" in cluster.script
    assert "#SBATCH --open-mode=append" in cluster.script
    assert f"{sys.executable} -P -u -m submitit.core._submit" in cluster.script
    assert [folder.job()["job"] for folder in folders(cluster, 3)] == ["7_0", "7_1", "7_2"]
    assert [folder.state for folder in folders(cluster, 3)] == ["queued"] * 3
    assert view.said == ["3 runs submitted as Slurm job 7"]
    for number, folder in enumerate(folders(cluster, 3)):
        work = DelayedSubmission.load(
            cluster.results / "slurm" / f"7_{number}_submitted.pkl"
        ).function
        assert isinstance(work, RunJob)
        assert work == RunJob(folder.path.absolute(), 1, None)
    cluster.answer("squeue", "7_0|None\n7_1|Resources\n7_2|Resources")
    assert detached(cluster, 3).said == ["3 runs queued or at work already"]
    assert len(cluster.asked("sbatch")) == 1
    cluster.answer("sbatch", "Submitted batch job 9")
    detached(cluster, 4)
    assert "--array" not in cluster.script
    assert folders(cluster, 4)[3].job()["job"] == "9"


def test_only_what_is_not_done_and_not_queued_is_submitted(cluster: FakeSlurm) -> None:
    done, queued, held, lost, failed = (make(cluster.results, spec) for spec in toy_specs(5))
    do(done)
    for job, folder in (("5_1", queued), ("5_2", lost), ("5_3", failed)):
        write_job(folder, job, 0)
    fail(failed, "failed", "no")
    cluster.answer("squeue", "5_1|Resources\n5_9|None\n5_3|None")
    with held.lock.acquire("GPU 0"):
        view = detached(cluster, 5)
    assert len(cluster.asked("sbatch")) == 1
    assert (lost.job()["job"], failed.job()["job"], queued.job()["job"]) == ("7_0", "7_1", "5_1")
    assert view.said[0].endswith(f"done before, {done.path}")
    assert view.said[1:] == ["2 runs submitted as Slurm job 7", "2 runs queued or at work already"]
    assert any("--jobs=5" in words for words in cluster.asked("squeue"))


def test_runs_are_followed_by_their_folders_to_their_ends(cluster: FakeSlurm) -> None:
    one, two, three, four = folders(cluster, 4)
    cluster.answer("squeue", "\n".join(f"7_{number}|None" for number in range(4)))

    def end() -> None:
        four.note_attempt(2, "began")
        four.result.touch()

    view = Watching(
        lambda: do(one),
        lambda: fail(two, "failed", "loss is not finite\nand more"),
        lambda: fail(three, "out-of-memory", "out of memory"),
        lambda: fail(four, "preempted", "preempted"),  # and requeued
        *[nothing] * 5,
        end,
        nothing,
    )
    outcomes = run(cluster, 4, view)
    assert [end.status for end in outcomes] == ["done", "failed", "out-of-memory", "done"]
    assert [end.exit_code for end in outcomes] == [0, 1, 1, 0]
    assert [text for _, text in view.over] == [
        *("done", "failed: loss is not finite", "out-of-memory: out of memory", "done"),
    ]


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_job_that_vanished_is_an_error_that_says_where_to_look(
    cluster: FakeSlurm, is_begun: bool
) -> None:
    cluster.patch.setattr(slurm, "LOST_SECONDS", 0.05)
    (folder,) = folders(cluster, 1)
    cluster.answer("squeue", "7|None")

    def leave() -> None:
        if is_begun:
            fail(folder, "preempted", "told to go")
        cluster.refuse("squeue", "slurm_load_jobs error: Invalid job id specified")

    (outcome,) = run(cluster, 1, Watching(leave, *[nothing] * 1000))
    why, status = ("told to go", "preempted") if is_begun else ("it was cancelled, or", "stopped")
    assert outcome.error.startswith(why)
    assert "Slurm job 7 is gone from the queue" in outcome.error
    assert str(cluster.results / "slurm" / "7_*.err") in outcome.error
    assert (outcome.status, outcome.exit_code, folder.state) == (status, 1, status)
    detached(cluster, 1)
    assert folder.state == "queued"  # the same command again goes on


def test_a_controller_that_does_not_answer_loses_nothing(cluster: FakeSlurm) -> None:
    cluster.patch.setattr(slurm, "LOST_SECONDS", 0.15)
    cluster.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    (folder,) = folders(cluster, 1)
    view = Watching(*[nothing] * 8, lambda: do(folder), nothing)
    (outcome,) = run(cluster, 1, view)
    assert outcome.status == "done"
    assert [text for text in view.said if "Unable to contact" in text] == [
        "squeue --jobs=7: slurm_load_jobs error: Unable to contact slurm controller: asking again"
    ]


def test_what_can_never_start_is_told_once(cluster: FakeSlurm) -> None:
    one, two = folders(cluster, 2)
    cluster.answer("squeue", "7_0|PartitionTimeLimit\n7_1|PartitionTimeLimit")
    view = Watching(nothing, lambda: do(one), lambda: do(two), nothing)
    run(cluster, 2, view)
    assert [text for text in view.said if "cannot start" in text] == [
        "Slurm job 7 cannot start as it is. PartitionTimeLimit: change time_minutes"
    ]


def test_ctrl_c_leaves_the_jobs_and_says_how_to_find_them(cluster: FakeSlurm) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    view = Watching(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(cluster, 2, view)
    results = cluster.results
    assert view.said[-1] == (
        "2 runs left to Slurm, whatever becomes of this command. "
        f"See: vlbench status --results {results}; end: vlbench cancel --all --results {results}"
    )
    assert not cluster.asked("scancel")


def test_a_run_that_another_command_left_gets_a_job(cluster: FakeSlurm) -> None:
    folder = make(cluster.results, toy_specs(1)[0])
    write_job(folder, "5", 0)
    hold = folder.lock.acquire("GPU 0")
    hold.__enter__()
    leave = lambda: hold.__exit__(None, None, None)  # noqa: E731
    view = Watching(nothing, leave, nothing, lambda: do(folder), nothing)
    (outcome,) = run(cluster, 1, view)
    assert outcome.status == "done"
    assert view.begun == [(outcome.spec.key, "GPU 0")]
    assert len(cluster.asked("sbatch")) == 1


def test_a_refused_request_is_one_message_and_leaves_nothing_behind(
    cluster: FakeSlurm,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    config = tmp_path / "vlbench.toml"
    config.write_text('[slurm]\npartition = "nosuch"\n')
    cluster.patch.setenv("VLBENCH_CONFIG", str(config))
    said = "sbatch: error: invalid partition specified: nosuch\nsbatch: error: Batch job failed"
    cluster.refuse("sbatch", said)
    settings = SlurmSettings(partition="nosuch", time_minutes=30, cpus_per_task=2)
    with pytest.raises(MissingError) as caught:
        detached(cluster, 2, slurm=settings)
    assert str(caught.value) == (
        "sbatch refused the jobs: invalid partition specified: nosuch; Batch job failed. They ask "
        "for --cpus-per-task=2, --partition=nosuch, --requeue, --time=30. That is set by [slurm] "
        f"in {config}, by --processes, --devices and --time-limit."
    )
    assert capfd.readouterr().err == ""
    assert {file.name for file in (cluster.results / "slurm").iterdir()} == {"lock"}
    assert [folder.state for folder in folders(cluster, 2)] == ["planned"] * 2


def test_without_slurm_the_message_says_where_to_start_the_command(cluster: FakeSlurm) -> None:
    cluster.patch.setenv("PATH", str(cluster.home))
    with pytest.raises(MissingError, match=r"not found on PATH: sbatch, srun.*--launcher local"):
        detached(cluster, 1)
    assert not cluster.results.exists()


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
    detached(cluster, 2, slurm=settings)
    assert cluster.script.strip() == shown.strip()
    assert "nothing to submit" in launcher.dry_run(toy_specs(2), cluster.results)


def test_variables_of_a_job_around_the_launcher_and_those_that_overrule_settings_go(
    cluster: FakeSlurm,
) -> None:
    passed = {"SLURM_CONF", "SBATCH_ACCOUNT", "SBATCH_QOS"}
    ours = {f"SBATCH_{name}" for name in ("PARTITION", "TIMELIMIT", "REQUEUE", "SIGNAL")}
    dropped = ours | {"SLURM_JOB_ID", "SUBMITIT_PREEMPT_SIGNAL"}
    for name in passed | dropped:
        cluster.patch.setenv(name, "USR1\ntouch x")  # no line of the script
    detached(cluster, 1, slurm=SlurmSettings(partition="gpu", time_minutes=90))
    assert (passed | dropped) & cluster.environment == passed
    assert "#SBATCH --signal=USR2@90" in cluster.script


@pytest.mark.parametrize("resources", [{"devices": "0,1"}, {"jobs": 2}])
def test_what_means_nothing_on_a_cluster_is_refused(resources: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"should be auto or cpu; array_parallelism in"):
        SlurmLauncher(Resources(**resources))  # type: ignore[arg-type]


def test_neither_results_nor_names_are_lines_of_the_script(
    cluster: FakeSlurm, tmp_path: Path
) -> None:
    launcher, results = SlurmLauncher(Resources(launcher="slurm")), tmp_path / "a\ntouch b"
    for act in (launcher.dry_run, lambda specs, folder: launcher.run(specs, folder, Quiet())):
        with pytest.raises(UsageError, match=r"a\[U\+000A\]touch b: .*: no control characters"):
            act(toy_specs(1), results)
    assert not results.exists()
    named = toy_specs(1)[0].model_copy(update={"suite": "mine\ntouch b"})
    assert "mine[U+000A]touch b" in launcher.dry_run([named], tmp_path)


def lines(device: str = "cpu", processes: int = 1, **settings: Any) -> list[str]:
    """The script's options."""
    given = Resources(processes=processes, slurm=SlurmSettings(**settings))
    text = script(request(given, [device]), Path("/results/slurm"), 3)
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if "#SBATCH" in line]


def test_settings_are_options_of_sbatch_and_what_is_left_out_the_cluster_decides() -> None:
    found = lines(
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
    wanted = ("partition=a,b", "account=us", "qos=low", "constraint=a100", "time=90")
    more = ("cpus-per-task=4", "mem=1536M", "array=0-2%2", "signal=USR2@45", "requeue")
    assert {f"--{name}" for name in (*wanted, *more)} <= set(found)
    names = {line.split("=")[0] for line in lines()}
    assert not names & {"--time", "--partition", "--account", "--mem", "--wckey", "--gpus-per-node"}
    limited = Resources(
        time_limit_minutes=7.5, slurm=SlurmSettings(time_minutes=90, cpus_per_task=6)
    )
    asked = request(limited, ["cpu"])
    assert asked["time"] == 8
    with pytest.raises(UsageError, match=r"limit of 2.5 minutes is too short: .* up to 180 s"):
        request(Resources(time_limit_minutes=2.5, slurm=SlurmSettings(signal_seconds=120)), ["cpu"])
    text = script(asked, Path("/results/slurm"), 1)
    assert "--cpus-per-task=6" in text.split("# command")[1]  # since 22.05 srun takes its own


@pytest.mark.parametrize(
    ("device", "settings", "option"),
    [
        ("cuda", {}, ["--gpus-per-node=2"]),
        ("cuda", {"gpus_per_node": 8}, ["--gpus-per-node=8"]),
        ("cpu", {}, []),
        ("cpu", {"extra": {"mail-type": "END"}}, ["--mail-type=END"]),
        ("cpu", {"time_minutes": 90, "extra": {"--time": "2-00:00:00"}}, ["--time=2-00:00:00"]),
        ("cpu", {"extra": {"exclusive": True}}, ["--exclusive"]),
        ("cpu", {"extra": {"requeue": False}}, []),
    ],
)
def test_each_process_has_a_gpu_and_further_options_take_the_place_of_ours(
    device: str, settings: dict[str, Any], option: list[str]
) -> None:
    names = ("gpus-per-node", "mail-type", "time", "exclusive")
    names += ("requeue",) if "requeue" in settings.get("extra", {}) else ()
    found = lines(device, 2, **settings)
    assert [line for line in found if line[2:].split("=")[0] in names] == option


def test_jobs_compute_on_gpus_whatever_the_machine_that_submits_them_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLBENCH_FAKE_GPUS", raising=False)
    none = SlurmSettings(gpus_per_node=0)
    assert SlurmLauncher(Resources()).device == "cuda"
    assert SlurmLauncher(Resources(devices="cpu")).device == "cpu"
    assert SlurmLauncher(Resources(slurm=none)).device == "cpu"
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "2")
    assert SlurmLauncher(Resources()).device == "cpu"
    assert request(Resources(), ["cpu"])["gpus_per_node"] == 1
    assert request(Resources(devices="cpu"), ["cpu"])["gpus_per_node"] is None
    with pytest.raises(MissingError, match=r"--processes 2: .* is 1"):
        lines("cuda", 2, gpus_per_node=1)


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x1b[2Jb", "a\x00b", "a\u2028b"])
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


def test_a_value_stays_one_word_of_its_line() -> None:
    value = "a # b --wrap=x 'c' \"d\" $(e) -f"
    assert [f"--constraint={value}"] in map(shlex.split, lines(constraint=value))


WAIT = "stop_at = time.monotonic() + 20\nwhile time.monotonic() < stop_at: time.sleep(0.05)"
"""A worker that goes on until it is told to stop."""


@dataclass
class Pretended:
    """A worker in this process whose job gets a signal at once; then it ends as it is to."""

    folder: RunFolder
    code: int = 130
    status: str = "preempted"
    """Its attempt's; empty: no attempt had begun."""
    kept: str = ""
    """A checkpoint that it writes."""
    number: signal.Signals = signal.SIGUSR2
    reason: str = ""
    is_signalled: bool = False

    def __call__(self, *_: object) -> Pretended:
        self.reason, self.is_signalled = "", False
        return self

    def poll(self) -> int | None:
        if not self.is_signalled:
            self.is_signalled = True
            os.kill(os.getpid(), self.number)
            return None
        assert self.reason == ("preempted" if self.number == signal.SIGUSR2 else "")
        if self.status:
            attempt = self.folder.attempts() + 1
            self.folder.note_attempt(attempt, "began")
            self.folder.write_status(self.status, attempt)
        if self.kept:
            self.folder.checkpoints.folder.mkdir()
            (self.folder.checkpoints.folder / self.kept).touch()
        if self.code == 0:
            self.folder.result.touch()
        return self.code

    def stop(self, reason: str) -> None:
        self.reason = reason


@pytest.fixture
def job(cluster: FakeSlurm) -> Iterator[FakeSlurm]:
    """We are task 1 of job 7."""
    use_toys(cluster.patch)
    for name, value in (("JOB_ID", "8"), ("ARRAY_JOB_ID", "7"), ("ARRAY_TASK_ID", "1")):
        cluster.patch.setenv(f"SLURM_{name}", value)
    yield cluster
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)


def queued(cluster: FakeSlurm, program: str = "", idle: int = 0) -> RunFolder:
    folder = make(cluster.results, toy_specs(1)[0], program)
    write_job(folder, "7_1", 0, idle)
    return folder


def pretended(cluster: FakeSlurm, idle: int = 0, **how: Any) -> RunFolder:
    """The same, whose worker is none."""
    folder = queued(cluster, "", idle)
    cluster.patch.setattr(slurm, "WorkerProcess", Pretended(folder, **how))
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
    folder = queued(job, "assert not [name for name in os.environ if name[:6] == 'SLURM_']")
    with folder.lock.acquire("GPU 0"):
        assert RunJob(folder.path)() == 75
    assert not folder.attempts_file.exists()
    assert RunJob(folder.path)() == 0
    assert folder.state == "done"
    assert '"where": "slurm 7_1"' in folder.attempts_file.read_text()


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_job_that_is_warned_is_requeued_and_one_that_slurm_ends_is_not(
    job: FakeSlurm, number: int
) -> None:
    folder = queued(job, WAIT)
    signalled(folder, number)  # the worker would die of the first
    assert fails(folder) == 130
    events = [json.loads(line)["event"] for line in folder.attempts_file.read_text().splitlines()]
    if number == signal.SIGTERM:
        assert folder.state != "queued" and not job.asked("scontrol")
        return
    assert events == ["began", "preempted"]
    assert job.asked("scontrol") == ["requeue 7_1"]
    assert (folder.state, folder.job()["attempts"]) == ("queued", 1)
    assert "requeued: Slurm job 7_1 goes on from the last checkpoint" in folder.log.read_text()


@pytest.mark.parametrize(
    ("how", "state"),
    [
        ({"code": 0}, "done"),
        ({"status": "cancelled"}, "cancelled"),
        ({"status": "", "number": signal.SIGTERM}, "queued"),
        ({}, "preempted"),
    ],
    ids=["done all the same", "cancelled meanwhile", "ended before its worker began", "refused"],
)
def test_a_job_that_need_not_or_cannot_go_on_is_not_requeued(
    job: FakeSlurm,
    how: dict[str, Any],
    state: str,
) -> None:
    folder = pretended(job, **how)
    job.refuse("scontrol", "Requested operation is presently disabled")
    if state == "done":
        assert RunJob(folder.path)() == 0
    else:
        fails(folder)
    assert folder.state == state
    assert bool(job.asked("scontrol")) == (state == "preempted")
    if state == "preempted":
        assert "not requeued: scontrol 7_1: Requested operation is pres" in folder.log.read_text()


def test_time_limits_that_lead_nowhere_come_to_an_end(job: FakeSlurm) -> None:
    job.patch.setattr(slurm, "IDLE_SECONDS", 0.0)
    folder = pretended(job)
    for idle in (1, 2):
        fails(folder)
        assert (folder.state, folder.job()["idle"]) == ("queued", idle)
    fails(folder)
    assert folder.state == "timeout"
    assert "needs a longer time limit (time_minutes" in folder.status()["error"]
    assert job.asked("scontrol") == ["requeue 7_1"] * 2


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_checkpoint_or_too_little_time_is_no_reason_to_give_up(
    job: FakeSlurm, is_kept: bool
) -> None:
    if is_kept:
        job.patch.setattr(slurm, "IDLE_SECONDS", 0.0)
    name = f"step-{5:09d}-{'0' * 16}.pt" if is_kept else ""
    folder = pretended(job, idle=2, kept=name)
    fails(folder)
    assert (folder.state, folder.job()["idle"]) == ("queued", 0 if is_kept else 2)


FAILS = "folder.write_status('failed', 1, error='and left no result', exit_code=3); sys.exit(3)"


@pytest.mark.parametrize(
    ("program", "code"), [(PROGRAM, 3), ("import sys; sys.exit(5)", 5), ("", 1)]
)
def test_a_worker_that_fails_with_or_without_a_word_is_a_failed_job_that_is_not_requeued(
    job: FakeSlurm, program: str, code: int
) -> None:
    folder = queued(job, FAILS)
    use_toys(job.patch, program)
    assert fails(folder) == code
    assert folder.state == "failed"
    assert "and left no result" in folder.status()["error"]
    assert not job.asked("scontrol")


def test_a_job_has_slurm_s_name_and_processors(job: FakeSlurm) -> None:
    job.patch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    job.patch.setenv("SLURM_CPUS_ON_NODE", "6")
    folder = queued(job, "(folder.path / 'threads').write_text(os.environ['OMP_NUM_THREADS'])")
    for given, processes, threads in (("", 1, 6), ("", 9, 1), ("4", 2, 2)):
        job.patch.setenv("SLURM_CPUS_PER_TASK", given)
        RunJob(folder.path, processes)()
        assert (folder.path / "threads").read_text() == str(threads)
        folder.result.unlink()
    assert job_name() == "7_1"
    job.patch.delenv("SLURM_ARRAY_JOB_ID")
    assert job_name() == "8"


def test_squeue_is_asked_once_for_all_arrays(cluster: FakeSlurm) -> None:
    waits = "10|ReqNodeNotAvail, UnavailableNodes:n1"
    cluster.answer("squeue", f"7_0|Resources\n7_1|None\n9|BadConstraints\n{waits}")
    queue = look(["7_1", "9", "8_0", "10"])
    assert queue == {
        "7_1": "",
        "9": "BadConstraints: change constraint, memory_gb, gpus_per_node",
        "10": "ReqNodeNotAvail, UnavailableNodes:n1: change partition, constraint",
    }
    (words,) = cluster.asked("squeue")
    assert "--jobs=10,7,8,9" in words and "--array" in words
    assert not look([])
    cluster.refuse("squeue", "slurm_load_jobs error: Invalid job id specified")
    assert look(["7_1"]) == {}
    cluster.refuse("squeue", "Unable to contact slurm controller (connect failure)")
    with pytest.raises(MissingError, match="squeue --jobs=7: Unable to contact"):
        look(["7_1"])


def test_a_user_s_own_squeue_settings_change_nothing(cluster: FakeSlurm) -> None:
    """SQUEUE_STATES=all would list jobs that are over."""
    program = cluster.home / "commands" / "squeue"
    text = program.read_text().replace("print(answer", 'print(os.environ.get("SQUEUE_STATES"))#')
    program.write_text(text)
    cluster.patch.setenv("SQUEUE_STATES", "9|None")
    assert look(["9"]) == {}


def test_cancelling_takes_a_queued_job_away_and_leaves_a_running_one(
    cluster: FakeSlurm,
) -> None:
    folder = queued(cluster)
    cluster.answer("squeue", "7_1|None")
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


def test_scancel_s_refusal_is_told(cluster: FakeSlurm, tmp_path: Path) -> None:
    folder = queued(cluster)
    cluster.refuse("scancel", "scancel: error: Access/permission denied")
    with pytest.raises(MissingError, match=r"scancel 7_1: .*permission denied"):
        cancel_job(folder)
    cluster.patch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="scancel 7_1: not found on PATH"):
        cancel_job(folder)
