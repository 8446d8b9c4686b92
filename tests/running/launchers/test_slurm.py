"""The slurm launcher on commands that only pretend to be Slurm's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.running.launchers.slurm_commands import FakeSlurm, fake_slurm
from tests.running.launchers.toys import Quiet, toy_specs
from vlbench.config import SlurmSettings
from vlbench.errors import MissingError, RunFailed, UsageError
from vlbench.running.folder import RunFolder
from vlbench.running.launchers import Outcome, Resources, slurm
from vlbench.running.launchers.slurm import SlurmLauncher
from vlbench.running.launchers.slurm_job import RunJob


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
