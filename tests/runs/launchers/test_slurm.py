"""The slurm launcher on commands that only pretend to be Slurm's."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runs.launchers.slurm_commands import FakeSlurm, fake_slurm
from tests.runs.launchers.toys import Quiet, toy_specs
from vlbench.config import SlurmSettings
from vlbench.errors import MissingError, RunFailed, UsageError
from vlbench.runs.folder import RunFolder
from vlbench.runs.launchers import Outcome, Resources, slurm
from vlbench.runs.launchers.slurm import (
    SlurmLauncher,
    check_resources,
    computing_device,
    environment,
    in_words,
    is_on_gpus,
    request,
    script,
)
from vlbench.runs.launchers.slurm_job import RunJob


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
    for name in ("TICK_SECONDS", "LOOK_SECONDS", "QUEUE_SECONDS"):
        monkeypatch.setattr(slurm, name, 0.0)
    monkeypatch.delenv("VLBENCH_FAKE_GPUS", raising=False)
    return fake_slurm(tmp_path, monkeypatch)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


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


def folders(results: Path, count: int) -> list[RunFolder]:
    return [RunFolder.of(results, spec) for spec in toy_specs(count)]


def run(results: Path, count: int, view: Quiet, **resources: object) -> list[Outcome]:
    found = Resources(launcher="slurm", **resources)  # type: ignore[arg-type]
    return SlurmLauncher(found).run(toy_specs(count), results, view)


def detached(results: Path, count: int, **resources: object) -> Quiet:
    view = Quiet()
    outcomes = run(results, count, view, detach=True, **resources)
    assert {outcome.exit_code for outcome in outcomes} == {0}
    return view


def test_a_plan_is_one_array_with_a_task_for_each_run(cluster: FakeSlurm, results: Path) -> None:
    view = detached(results, 3)
    assert "#SBATCH --array=0-2%3" in cluster.script
    assert "#SBATCH --requeue" in cluster.script
    assert "#SBATCH --open-mode=append" in cluster.script
    assert [folder.job()["job"] for folder in folders(results, 3)] == ["7_0", "7_1", "7_2"]
    assert [folder.state for folder in folders(results, 3)] == ["queued"] * 3
    assert view.said == ["3 runs submitted as Slurm job 7"]
    from submitit.core.utils import DelayedSubmission

    for number, folder in enumerate(folders(results, 3)):
        work = DelayedSubmission.load(results / "slurm" / f"7_{number}_submitted.pkl").function
        assert isinstance(work, RunJob)
        assert (work.path, work.processes, work.minutes) == (folder.path.absolute(), 1, None)


def test_a_single_run_is_a_job_without_an_array(cluster: FakeSlurm, results: Path) -> None:
    detached(results, 1)
    assert "--array" not in cluster.script
    assert folders(results, 1)[0].job()["job"] == "7"


def test_only_what_is_not_done_and_not_queued_is_submitted(
    cluster: FakeSlurm, results: Path
) -> None:
    specs = toy_specs(4)
    for spec, folder in zip(specs, folders(results, 4), strict=True):
        folder.create(spec)
    done, queued, held, lost = folders(results, 4)
    do(done)
    queued.job_file.write_text(json.dumps({"launcher": "slurm", "job": "5_1", "attempts": 0}))
    lost.job_file.write_text(json.dumps({"launcher": "slurm", "job": "5_2", "attempts": 0}))
    cluster.answer("squeue", "5_1|PENDING|Resources\n5_9|RUNNING|None")
    with held.lock.acquire("GPU 0"):
        view = detached(results, 4)
    assert len(cluster.asked("sbatch")) == 1
    assert "--array" not in cluster.script
    assert lost.job()["job"] == "7"
    assert view.said[0].endswith(f"done before, {done.path}")
    assert view.said[1:] == [
        "1 run submitted as Slurm job 7",
        "2 runs queued or at work already",
    ]
    assert any("--jobs=5" in words for words in cluster.asked("squeue"))


def test_a_run_that_failed_is_done_again_though_slurm_still_tidies_up_its_job(
    cluster: FakeSlurm, results: Path
) -> None:
    detached(results, 1)
    (folder,) = folders(results, 1)
    fail(folder, "failed", "no")
    cluster.answer("squeue", "7|COMPLETING|None")
    cluster.answer("sbatch", "Submitted batch job 8")
    detached(results, 1)
    assert (folder.state, folder.job()["job"]) == ("queued", "8")


def test_the_same_command_again_submits_nothing(cluster: FakeSlurm, results: Path) -> None:
    detached(results, 2)
    cluster.answer("squeue", "7_0|RUNNING|None\n7_1|PENDING|Resources")
    assert detached(results, 2).said == ["2 runs queued or at work already"]
    assert len(cluster.asked("sbatch")) == 1


def test_runs_are_followed_by_their_folders_to_their_ends(
    cluster: FakeSlurm, results: Path
) -> None:
    one, two, three = folders(results, 3)
    cluster.answer("squeue", "7_0|RUNNING|None\n7_1|RUNNING|None\n7_2|RUNNING|None")
    view = Watching(
        lambda: do(one),
        lambda: fail(two, "failed", "loss is not finite\nand more"),
        lambda: fail(three, "out-of-memory", "out of memory"),
        lambda: None,
    )
    outcomes = run(results, 3, view)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "out-of-memory"]
    assert [outcome.exit_code for outcome in outcomes] == [0, 1, 1]
    assert outcomes[1].error == "loss is not finite"
    assert [text for _, text in view.over] == [
        "done",
        "failed: loss is not finite",
        "out-of-memory: out of memory",
    ]


def test_a_run_that_is_requeued_is_waited_for(cluster: FakeSlurm, results: Path) -> None:
    (folder,) = folders(results, 1)
    cluster.answer("squeue", "7|PENDING|BeginTime")

    def end() -> None:
        folder.note_attempt(2, "began")
        folder.result.touch()

    waits = [lambda: None] * 5
    view = Watching(lambda: fail(folder, "preempted", "preempted"), *waits, end, lambda: None)
    (outcome,) = run(results, 1, view)
    assert (outcome.status, outcome.exit_code) == ("done", 0)


def test_a_job_that_vanished_is_an_error_that_says_where_to_look(
    cluster: FakeSlurm, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LOST_SECONDS", 0.05)
    cluster.refuse("squeue", "slurm_load_jobs error: Invalid job id specified")
    (outcome,) = run(results, 1, Watching(*[lambda: None] * 1000))
    assert (outcome.status, outcome.exit_code) == ("stopped", 1)
    assert "Slurm job 7 is gone from the queue and no worker began" in outcome.error
    assert str(results / "slurm" / "7_*.err") in outcome.error
    assert outcome.folder.state == "stopped"  # no longer queued
    detached(results, 1)
    assert outcome.folder.state == "queued"  # the same command again goes on


def test_a_preempted_run_whose_job_is_gone_keeps_its_error(
    cluster: FakeSlurm, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LOST_SECONDS", 0.05)
    (folder,) = folders(results, 1)
    cluster.answer("squeue", "7|RUNNING|None")

    def leave() -> None:
        fail(folder, "preempted", "told to go")
        cluster.answer("squeue", "")

    view = Watching(leave, *[lambda: None] * 1000)
    (outcome,) = run(results, 1, view)
    assert outcome.error == "told to go; Slurm job 7 is gone from the queue"
    assert (outcome.status, folder.state) == ("preempted", "preempted")


def test_a_controller_that_does_not_answer_loses_nothing(
    cluster: FakeSlurm, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LOST_SECONDS", 0.15)
    cluster.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    (folder,) = folders(results, 1)
    waits = [lambda: None] * 8
    view = Watching(*waits, lambda: do(folder), lambda: None)
    (outcome,) = run(results, 1, view)
    assert outcome.status == "done"
    assert [text for text in view.said if "Unable to contact" in text] == [
        "squeue: slurm_load_jobs error: Unable to contact slurm controller: asking again"
    ]


def test_what_can_never_start_is_told_once(cluster: FakeSlurm, results: Path) -> None:
    one, two = folders(results, 2)
    cluster.answer("squeue", "7_0|PENDING|PartitionTimeLimit\n7_1|PENDING|PartitionTimeLimit")
    view = Watching(lambda: None, lambda: do(one), lambda: do(two), lambda: None)
    run(results, 2, view)
    assert [text for text in view.said if "cannot start" in text] == [
        "Slurm job 7 cannot start as it is. PartitionTimeLimit: the time limit is above the "
        "partition's: time_minutes"
    ]


def test_ctrl_c_leaves_the_jobs_and_says_how_to_find_them(
    cluster: FakeSlurm, results: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    view = Watching(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(results, 2, view)
    assert view.said[-1] == (
        "2 runs left to Slurm, whatever becomes of this command. "
        f"See: vlbench status --results {results}; end: vlbench cancel --all --results {results}"
    )
    assert not cluster.asked("scancel")


def test_a_run_that_another_command_left_gets_a_job(
    cluster: FakeSlurm, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = folders(results, 1)
    folder.create(toy_specs(1)[0])
    folder.job_file.write_text(json.dumps({"launcher": "slurm", "job": "5", "attempts": 0}))
    hold = folder.lock.acquire("GPU 0")
    hold.__enter__()
    leave = lambda: hold.__exit__(None, None, None)  # noqa: E731
    view = Watching(lambda: None, leave, lambda: None, lambda: do(folder), lambda: None)
    (outcome,) = run(results, 1, view)
    assert outcome.status == "done"
    assert view.begun == [(outcome.spec.key, "GPU 0")]
    assert len(cluster.asked("sbatch")) == 1


def test_a_refused_request_is_one_message_and_leaves_nothing_behind(
    cluster: FakeSlurm,
    results: Path,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "vlbench.toml"
    config.write_text('[slurm]\npartition = "nosuch"\n')
    monkeypatch.setenv("VLBENCH_CONFIG", str(config))
    said = "sbatch: error: invalid partition specified: nosuch\nsbatch: error: Batch job failed"
    cluster.refuse("sbatch", said)
    settings = SlurmSettings(partition="nosuch", time_minutes=30)
    with pytest.raises(MissingError) as caught:
        detached(results, 2, slurm=settings)
    assert str(caught.value) == (
        "sbatch refused the jobs: invalid partition specified: nosuch; Batch job failed. They ask "
        "for --partition=nosuch, --time=30, --requeue. That is set by [slurm] in "
        f"{config}, by --processes, --devices and --time-limit."
    )
    assert capfd.readouterr().err == ""
    assert {file.name for file in (results / "slurm").iterdir()} == {"lock"}
    assert [folder.state for folder in folders(results, 2)] == ["planned"] * 2


def test_without_slurm_the_message_says_where_to_start_the_command(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match=r"not found on PATH: sbatch, srun.*--launcher local"):
        detached(results, 1)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingError, match=r"pip install 'vlbench\[slurm\]'"):
        SlurmLauncher(Resources()).dry_run(toy_specs(1), results)


def test_results_that_cannot_be_written_are_told(cluster: FakeSlurm, results: Path) -> None:
    results.mkdir()
    (results / "slurm").touch()
    with pytest.raises(RunFailed, match=f"{results}/slurm: cannot be written"):
        detached(results, 1)


def test_a_dry_run_shows_the_script_that_would_be_submitted_and_writes_nothing(
    cluster: FakeSlurm, results: Path
) -> None:
    settings = SlurmSettings(
        partition="gpu", time_minutes=90, cpus_per_task=4, memory_gb=15.5, setup=("module load x",)
    )
    launcher = SlurmLauncher(Resources(slurm=settings))
    text = launcher.dry_run(toy_specs(2), results)
    assert not results.exists()
    shown, _, tasks = text.partition("# task 0: ")
    one, _ = folders(results, 2)
    assert tasks.startswith(f"{toy_specs(1)[0].name}, {one.path}\n# task 1: ")
    detached(results, 2, slurm=settings)
    assert cluster.script.strip() == shown.strip()
    assert "nothing to submit" in launcher.dry_run(toy_specs(2), results)


def test_a_launcher_inside_a_job_submits_as_from_outside(
    cluster: FakeSlurm, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_CONF", "SBATCH_PARTITION", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "1")
    detached(results, 1, slurm=SlurmSettings(partition="gpu"))
    assert "SLURM_CONF" in cluster.environment
    assert "SBATCH_ACCOUNT" in cluster.environment
    assert not {"SLURM_JOB_ID", "SBATCH_PARTITION"} & cluster.environment


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"devices": "0,1"}, "--devices 0,1: .* auto or cpu"),
        ({"jobs": 2}, "array_parallelism in"),
        ({"time_limit_minutes": 2.5}, "3 minutes leaves|3 minutes is too short"),
    ],
)
def test_what_means_nothing_on_a_cluster_is_refused(
    resources: dict[str, object], message: str
) -> None:
    settings = SlurmSettings(signal_seconds=120)
    with pytest.raises(UsageError, match=message):
        SlurmLauncher(Resources(slurm=settings, **resources))  # type: ignore[arg-type]


def test_a_results_folder_of_two_lines_is_refused(cluster: FakeSlurm, tmp_path: Path) -> None:
    """Its path stands in the script."""
    launcher, results = SlurmLauncher(Resources(launcher="slurm")), tmp_path / "a\ntouch b"
    for act in (launcher.dry_run, lambda specs, folder: launcher.run(specs, folder, Quiet())):
        with pytest.raises(UsageError, match=r"a\[U\+000A\]touch b: .* no control characters"):
            act(toy_specs(1), results)
    assert not results.exists()


def test_the_names_of_runs_are_no_lines_of_the_printed_script(
    cluster: FakeSlurm, results: Path
) -> None:
    (spec,) = toy_specs(1)
    named = spec.model_copy(update={"suite": "mine\ntouch b"})
    text = SlurmLauncher(Resources(launcher="slurm")).dry_run([named], results)
    assert "mine[U+000A]touch b" in text


def lines(is_on_gpus: bool = False, processes: int = 1, **settings: Any) -> list[str]:
    """The script's options."""
    asked = request(Resources(processes=processes, slurm=SlurmSettings(**settings)), is_on_gpus)
    text = script(asked, Path("/results/slurm"), 3)
    return [line for line in text.splitlines() if line.startswith("#SBATCH")]


def option(found: list[str], name: str) -> list[str]:
    return [line for line in found if line.split("=")[0] == f"#SBATCH --{name}"]


def test_settings_are_options_of_sbatch() -> None:
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
    assert {f"#SBATCH --{each}" for each in (*wanted, *more)} <= set(found)


def test_what_is_left_out_the_cluster_decides() -> None:
    names = {line.split()[1].split("=")[0] for line in lines()}
    assert not names & {"--time", "--partition", "--account", "--mem", "--wckey", "--gpus-per-node"}


def test_a_time_limit_of_the_command_counts_more_than_that_of_the_file() -> None:
    resources = Resources(time_limit_minutes=7.5, slurm=SlurmSettings(time_minutes=90))
    assert request(resources, False)["time"] == 8


def test_each_process_has_a_gpu_and_settings_may_ask_for_more() -> None:
    assert option(lines(True, 2), "gpus-per-node") == ["#SBATCH --gpus-per-node=2"]
    assert option(lines(True, 2, gpus_per_node=8), "gpus-per-node") == ["#SBATCH --gpus-per-node=8"]
    assert not option(lines(False, 2), "gpus-per-node")
    with pytest.raises(MissingError, match=r"--processes 2: .* is 1"):
        lines(True, 2, gpus_per_node=1)


def test_further_options_are_passed_through_and_take_the_place_of_ours() -> None:
    more = {"mail-type": "END", "--time": "2-00:00:00", "exclusive": True, "requeue": False}
    found = lines(time_minutes=90, extra=more)
    assert option(found, "mail-type") == ["#SBATCH --mail-type=END"]
    assert option(found, "time") == ["#SBATCH --time=2-00:00:00"]
    assert "#SBATCH --exclusive" in found
    assert not option(found, "requeue")


def test_a_step_has_the_processors_of_its_job() -> None:
    """Since Slurm 22.05 srun no longer takes them from the job."""
    asked = request(Resources(slurm=SlurmSettings(cpus_per_task=6)), False)
    assert "--cpus-per-task=6" in script(asked, Path("/results/slurm"), 1).split("# command")[1]


def test_what_is_asked_for_reads_as_on_the_command_line() -> None:
    settings = SlurmSettings(partition="gpu", cpus_per_task=2, extra={"nodelist": "n[1-2]"})
    said = in_words(request(Resources(slurm=settings), True))
    assert said == (
        "--partition=gpu, --cpus-per-task=2, --gpus-per-node=1, --requeue, --nodelist=n[1-2]"
    )


def test_variables_do_not_overrule_what_the_settings_say() -> None:
    given = dict.fromkeys(
        ("SBATCH_TIMELIMIT", "SBATCH_QOS", "SBATCH_REQUEUE", "SBATCH_SIGNAL", "HOME"), "x"
    )
    asked = request(Resources(slurm=SlurmSettings(time_minutes=90)), False)
    assert set(environment(asked, given)) == {"SBATCH_QOS", "HOME"}
    asked = request(Resources(slurm=SlurmSettings(qos="low")), False)
    assert set(environment(asked, given)) == {"SBATCH_TIMELIMIT", "HOME"}


def test_jobs_compute_on_gpus_whatever_the_machine_that_submits_them_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLBENCH_FAKE_GPUS", raising=False)
    assert computing_device("auto", None) == "cuda"
    assert computing_device("cpu", None) == "cpu"
    assert computing_device("auto", 0) == "cpu"
    assert not is_on_gpus(Resources(), ["cpu"])
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "2")
    assert computing_device("auto", None) == "cpu"
    assert is_on_gpus(Resources(), ["cpu"])
    assert not is_on_gpus(Resources(devices="cpu"), ["cpu"])


BREAKS = ["a\nb", "a\rb", "a\x1b[2Jb", "a\x00b", "a\u2028b"]


@pytest.mark.parametrize("text", BREAKS)
@pytest.mark.parametrize("key", ["partition", "account", "qos", "constraint", "setup", "extra"])
def test_no_setting_is_more_than_a_line_of_the_script(key: str, text: str) -> None:
    value: object = {"setup": ["module load cuda", text], "extra": {"comment": text}}.get(key, text)
    with pytest.raises(ValueError, match=f"(?s){key}.*one line without control characters"):
        SlurmSettings.model_validate({key: value})


@pytest.mark.parametrize(
    "name", ["nice\n", "x\ntouch /tmp/x", "nice=5 --wrap", "a b", "", "--", "-c"]
)
def test_the_names_of_further_options_are_names(name: str) -> None:
    with pytest.raises(ValueError, match="name of an option of sbatch"):
        SlurmSettings.model_validate({"extra": {name: 1}})


def test_a_value_stays_one_word_of_its_line() -> None:
    value = "a # b --wrap=x 'c' \"d\" $(e) -f"
    (line,) = option(lines(constraint=value), "constraint")
    assert shlex.split(line.removeprefix("#SBATCH ")) == [f"--constraint={value}"]


def test_a_warning_signal_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR2\ntouch x")
    with pytest.raises(UsageError, match=r"SUBMITIT_PREEMPT_SIGNAL=USR2\[U\+000A\]touch x"):
        check_resources(Resources(launcher="slurm"))


def test_jobs_start_python_without_the_current_folder() -> None:
    text = script(request(Resources(), False), Path("/results/slurm"), 1)
    assert f"{sys.executable} -P -u -m submitit.core._submit" in text
