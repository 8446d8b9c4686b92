"""The local launcher with workers that take no time to start."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.runs.launchers.toys import Quiet, make, toy_specs, use_toys
from vlbench.errors import MissingError, UsageError
from vlbench.lock import Lock
from vlbench.runs.folder import RunFolder
from vlbench.runs.launchers import Outcome, Resources, find_launcher, launch, outcome_of
from vlbench.runs.launchers.local import LocalLauncher, computing_device, find_slots, occupy
from vlbench.runs.launchers.process import WorkerProcess


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_toys(monkeypatch)
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VLBENCH_FAKE_GPUS", raising=False)


def run(results: Path, count: int, **resources: object) -> tuple[list[Outcome], Quiet]:
    view = Quiet()
    found = Resources(**{"devices": "cpu", **resources})  # type: ignore[arg-type]
    return launch(toy_specs(count), results, found, view), view


def events(folder: RunFolder) -> list[str]:
    lines = folder.attempts_file.read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_outcomes_come_in_the_order_of_the_plan_and_a_failure_stops_nothing(
    tmp_path: Path,
) -> None:
    specs = toy_specs(3)
    make(tmp_path, specs[0])
    fail = "folder.write_status('failed', 1, error='first\\nlast', exit_code=1); sys.exit(1)"
    make(tmp_path, specs[1], fail)
    make(tmp_path, specs[2], "")
    outcomes, view = run(tmp_path, 3, jobs=2)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert [outcome.exit_code for outcome in outcomes] == [0, 1, 0]
    assert outcomes[1].error == "first"
    assert {text.split(" in ")[0] for _, text in view.over} == {"done", "failed: first"}


def test_an_end_is_told_once(tmp_path: Path) -> None:
    (spec,) = toy_specs(1)
    folder = RunFolder.of(tmp_path, spec)
    told = [
        Outcome(spec, folder, "cancelled", 130, error).told
        for error in ("cancelled: it was told to stop", "cancelled", "before it began")
    ]
    assert told == ["cancelled: it was told to stop", "cancelled", "cancelled: before it began"]
    assert Outcome(spec, folder, "done", 0).told == "done"


def test_what_is_missing_for_one_is_missing_for_all(tmp_path: Path) -> None:
    specs = toy_specs(2)
    make(tmp_path, specs[0], "folder.write_status('failed', 1, exit_code=3); sys.exit(3)")
    make(tmp_path, specs[1])
    outcomes, _ = run(tmp_path, 2)
    assert [outcome.status for outcome in outcomes] == ["failed", "planned"]
    assert [outcome.exit_code for outcome in outcomes] == [3, 3]
    assert not outcomes[1].folder.attempts_file.exists()


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    specs = toy_specs(2)
    make(tmp_path, specs[0], "1 / 0").result.touch()
    make(tmp_path, specs[1], "")
    outcomes, view = run(tmp_path, 2)
    assert [outcome.was_done for outcome in outcomes] == [True, False]
    assert "done before" in view.said[0]


def test_a_run_killed_after_its_result_is_tidied_up(tmp_path: Path) -> None:
    folder = make(tmp_path, toy_specs(1)[0])
    folder.note_attempt(1, "began")
    folder.write_status("running", 1)
    folder.checkpoints.folder.mkdir()
    (folder.path / ".status.json.1-ab.tmp").touch()
    folder.result.touch()
    for _ in range(2):
        outcomes, _ = run(tmp_path, 1)
        assert outcomes[0].was_done
        assert events(folder) == ["began", "done"]
        assert folder.status()["status"] == "done"
        assert not folder.checkpoints.folder.exists()
        assert not list(folder.path.glob(".*.tmp"))


def test_a_status_that_was_torn_hides_no_missing_end(tmp_path: Path) -> None:
    folder = make(tmp_path, toy_specs(1)[0])
    folder.note_attempt(1, "began")
    with folder.attempts_file.open("a") as file:
        file.write('{"attempt": 1, "event": "done", "at": "20')
    folder.status_file.write_text('{"status": "runn')
    folder.result.touch()
    run(tmp_path, 1)
    lines = folder.attempts_file.read_text().splitlines()
    assert [json.loads(line)["event"] for line in (lines[0], lines[-1])] == ["began", "done"]
    assert folder.status()["status"] == "done"


def test_results_kept_without_their_attempts_are_left_as_they_are(tmp_path: Path) -> None:
    folder = make(tmp_path, toy_specs(1)[0])
    folder.result.touch()
    before = sorted(file.name for file in folder.path.iterdir())
    run(tmp_path, 1)
    assert sorted(file.name for file in folder.path.iterdir()) == before


def test_never_more_workers_than_slots_and_a_gpu_never_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "4")
    for spec in toy_specs(9):
        make(tmp_path, spec, f"time.sleep({0.1 + 0.05 * (spec.seed % 3)})")
    outcomes, view = run(tmp_path, 9, devices="auto")
    assert {outcome.status for outcome in outcomes} == {"done"}
    lines = (tmp_path / "runs/intervals").read_text().splitlines()
    spans = [json.loads(line) for line in lines]
    assert len(spans) == 9
    assert {gpu for gpu, *_ in spans} == {"0", "1", "2", "3"}
    for gpu, start, _ in spans:
        at_once = [other for other, begin, end in spans if begin <= start < end]
        assert len(at_once) <= 4
        assert at_once.count(gpu) == 1
    assert {where for _, where in view.begun} == {f"GPU {n}" for n in range(4)}


def test_a_run_over_its_time_ends_as_timeout(tmp_path: Path) -> None:
    folder = make(tmp_path, toy_specs(1)[0], "time.sleep(60)")
    outcomes, _ = run(tmp_path, 1, time_limit_minutes=0.05)  # a worker begins in a second
    assert (outcomes[0].status, outcomes[0].exit_code) == ("timeout", 1)
    assert events(folder) == ["began", "timeout"]


def test_a_worker_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlbench.runs.launchers.process.TERM_SECONDS", 0.2)
    monkeypatch.setattr("vlbench.runs.launchers.process.KILL_SECONDS", 0.4)
    deaf = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [15])\ntime.sleep(60)"
    folder = make(tmp_path, toy_specs(1)[0], deaf)
    outcomes, _ = run(tmp_path, 1, time_limit_minutes=0.05)  # a worker begins in a second
    assert outcomes[0].status == "timeout"
    assert "did not stop when told" in outcomes[0].error
    assert events(folder) == ["began", "timeout"]


def test_a_killed_worker_is_told_and_recorded(tmp_path: Path) -> None:
    folder = make(tmp_path, toy_specs(1)[0], "os.kill(os.getpid(), 9)")
    outcomes, _ = run(tmp_path, 1)
    assert (outcomes[0].status, outcomes[0].exit_code) == ("stopped", 1)
    assert "killed (SIGKILL)" in outcomes[0].error
    assert events(folder) == ["began", "stopped"]


def test_a_worker_that_says_nothing_is_told_by_its_code(tmp_path: Path) -> None:
    make(tmp_path, toy_specs(1)[0], "os._exit(7)")
    outcomes, _ = run(tmp_path, 1)
    assert outcomes[0].exit_code in (1, 7)
    assert outcomes[0].error


def test_an_interrupt_leaves_no_worker_and_a_state_to_go_on_from(tmp_path: Path) -> None:
    folders = [make(tmp_path, spec, "time.sleep(60)") for spec in toy_specs(3)]
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 3, jobs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [folder.state for folder in folders] == ["cancelled", "cancelled", "planned"]
    for folder in folders[:2]:
        with pytest.raises(ProcessLookupError):
            os.kill(folder.status()["pid"], 0)


def test_a_run_held_elsewhere_is_waited_for_and_done_once(tmp_path: Path) -> None:
    specs = toy_specs(2)
    folders = [make(tmp_path, spec, "time.sleep(0.5)") for spec in specs]
    found: list[list[Outcome]] = []
    threads = [threading.Thread(target=lambda: found.append(_quietly(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [[o.status for o in outcomes] for outcomes in found] == [["done", "done"]] * 2
    assert [events(folder) for folder in folders] == [["began", "done"]] * 2


def _quietly(results: Path) -> list[Outcome]:
    """As `run`, in a thread of its own."""
    return LocalLauncher(Resources(devices="cpu")).run(toy_specs(2), results, Quiet())


@pytest.mark.parametrize(
    ("ending", "status"),
    [("failed", "failed"), ("stopped", "done"), ("cancelled", "done")],
)
def test_what_others_failed_is_told_and_what_they_left_is_taken_over(
    tmp_path: Path, ending: str, status: str
) -> None:
    folder = make(tmp_path, toy_specs(1)[0], "")

    def other() -> None:
        with Lock(folder.path).acquire("elsewhere"):
            began.set()
            time.sleep(0.6)
            folder.note_attempt(1, "began")
            folder.write_status(ending, 1, error="theirs")

    began = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    began.wait(5)
    outcomes, view = run(tmp_path, 1)
    thread.join()
    assert outcomes[0].status == status
    assert "held by another command" in view.begun[0][1]


def test_a_cancelled_run_is_left_and_another_command_does_it(tmp_path: Path) -> None:
    specs = toy_specs(2)
    first = make(tmp_path, specs[0], "")
    second = make(tmp_path, specs[1], "")
    (first.path / "program").write_text(f"Path({str(second.cancel_file)!r}).touch()")
    outcomes, _ = run(tmp_path, 2)
    assert [(o.status, o.exit_code) for o in outcomes] == [("done", 0), ("cancelled", 130)]
    assert second.state == "cancelled"
    assert [o.status for o in run(tmp_path, 2)[0]] == ["done", "done"]


def test_a_gpu_that_another_command_uses_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "1")
    (slot,) = find_slots(Resources())
    held = occupy(slot)
    assert held
    threading.Timer(0.5, held.close).start()
    make(tmp_path, toy_specs(1)[0], "")
    outcomes, view = run(tmp_path, 1, devices="auto")
    assert outcomes[0].status == "done"
    assert view.said == ["waiting for GPU 0: other commands use what there is"]


def test_a_results_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path, toy_specs(1)[0])
    folder.log.mkdir()
    outcomes, _ = run(tmp_path, 1)
    assert (outcomes[0].status, outcomes[0].exit_code) == ("failed", 1)
    assert "log.txt: Is a directory" in outcomes[0].error


def test_workers_end_with_their_launcher(tmp_path: Path) -> None:
    program = "(folder.path / 'here').touch(); time.sleep(60)"
    folder = make(tmp_path, toy_specs(1)[0], program)
    worker = WorkerProcess.start(folder, "cpu", os.environ)
    deadline = time.monotonic() + 10
    while not (folder.path / "here").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert worker.process.stdin is not None
    worker.process.stdin.close()  # as the system does with a killed launcher's
    assert worker.wait(10) == 130
    assert folder.state == "stopped"


def test_a_dry_run_shows_commands_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # real commands
    launcher = find_launcher(Resources(devices="cpu", jobs=2))
    text = launcher.dry_run(toy_specs(2), tmp_path)
    assert "# 2 at once: cpu 0, cpu 1" in text
    assert text.count("vlbench.worker") == 2
    assert str(tmp_path / "runs" / toy_specs(1)[0].key) in text
    assert not (tmp_path / "runs").exists()
    line = text.splitlines()[1]
    done = subprocess.run(["bash", "-c", f"echo {line}"], capture_output=True, text=True)
    assert done.returncode == 0


@pytest.mark.parametrize("earlier", ["", "failed", "done"])
def test_a_worker_that_ends_with_0_and_no_result_has_failed(tmp_path: Path, earlier: str) -> None:
    folder = make(tmp_path, toy_specs(1)[0])
    if earlier:
        folder.write_status(earlier, 1, error="an earlier attempt's", exit_code=256)
    (folder.path / "program").write_text("os._exit(0)")
    outcomes, _ = run(tmp_path, 1)
    assert (outcomes[0].status, outcomes[0].exit_code) == ("failed", 1)
    assert "ended with 0 and left no result" in outcomes[0].error


def test_a_worker_that_says_held_again_and_again_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, toy_specs(1)[0])
    monkeypatch.setattr("tests.runs.launchers.toys.PROGRAM", "import sys; sys.exit(75)")
    outcomes, _ = run(tmp_path, 1)
    assert (outcomes[0].status, outcomes[0].exit_code) == ("failed", 1)
    assert "ended with 75 and left no result" in outcomes[0].error


@pytest.mark.parametrize("code", [256, 0, 77, -1, "3", [3], None, True, 1.5])
def test_an_odd_exit_code_in_a_status_is_a_failure(tmp_path: Path, code: object) -> None:
    folder = make(tmp_path, toy_specs(1)[0])
    folder.write_status("failed", 1, exit_code=code)
    assert outcome_of(toy_specs(1)[0], folder).exit_code == 1


@pytest.mark.parametrize("spoilt", ["[" * 100_000, "{}", None], ids=["deep", "other", "folder"])
def test_a_run_whose_spec_cannot_be_read_stops_no_other(tmp_path: Path, spoilt: str | None) -> None:
    specs = toy_specs(2)
    first = make(tmp_path, specs[0])
    make(tmp_path, specs[1], "")
    if spoilt is None:
        first.spec_file.unlink()
        first.spec_file.mkdir()
    else:
        first.spec_file.write_text(spoilt)
    outcomes, view = run(tmp_path, 2)
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert outcomes[0].exit_code and str(first.path) in outcomes[0].error
    assert "not started" in view.said[0]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLBENCH_FAKE_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def names(**resources: object) -> list[str]:
    return [slot.name for slot in find_slots(Resources(**resources))]  # type: ignore[arg-type]


def test_without_gpus_there_are_as_many_slots_as_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    assert names() == ["cpu"]
    assert names(jobs=3) == ["cpu 0", "cpu 1", "cpu 2"]
    assert {slot.threads for slot in find_slots(Resources(jobs=2))} == {4}
    assert {slot.threads for slot in find_slots(Resources(jobs=2, processes=2))} == {2}
    assert computing_device("auto") == "cpu"


def test_gpus_are_a_slot_each_or_groups_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "5")
    assert names() == [f"GPU {n}" for n in range(5)]
    assert names(devices="3,1,3") == ["GPU 3", "GPU 1"]
    assert names(processes=2) == ["GPUs 0, 1", "GPUs 2, 3"]
    assert names(devices="cpu") == ["cpu"]
    assert find_slots(Resources(processes=2))[1].visible == "2,3"


def test_numbers_count_what_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-ab12,7")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [slot.visible for slot in find_slots(Resources())] == ["GPU-ab12", "7"]
    assert [slot.visible for slot in find_slots(Resources(devices="1"))] == ["7"]
    assert computing_device("auto") == "cuda"


@pytest.mark.parametrize(
    ("resources", "error", "text"),
    [
        ({"devices": "tpu"}, UsageError, "--devices tpu: should be auto, cpu, or GPUs' numbers"),
        ({"devices": "0,"}, UsageError, "--devices 0,: should be"),
        ({"devices": "2"}, MissingError, "--devices 2: this machine has 2 GPUs"),
        ({"jobs": 2}, UsageError, "--jobs 2 is for the CPU"),
        ({"processes": 3}, MissingError, "--processes 3: each takes a GPU of its own"),
        ({"jobs": 0}, UsageError, "should be 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, object], error: type, text: str
) -> None:
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "2")
    with pytest.raises(error, match=text):
        names(**resources)


def test_a_gpu_is_one_commands_at_a_time(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "3")
    first, second, both = *find_slots(Resources())[:2], find_slots(Resources(processes=2))[0]
    held = occupy(first)
    assert held
    assert occupy(first) is None
    assert occupy(both) is None
    other = occupy(second)
    assert other
    held.close()
    other.close()
    again = occupy(both)
    assert again
    again.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_heartbeats_keep_a_gpu_to_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(file: object, kind: int) -> None:
        raise OSError(number, "No locks available")

    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "1")
    monkeypatch.setattr("vlbench.lock.fcntl.flock", no_locks)
    monkeypatch.setattr("vlbench.lock.POLL_SECONDS", 0.02)
    (slot,) = find_slots(Resources())
    held = occupy(slot)
    assert held
    assert occupy(slot) is None
    held.close()
    again = occupy(slot)
    assert again
    again.close()


def test_a_cache_that_cannot_hold_the_claims_is_told_as_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "1")
    (tmp_path / "devices").write_text("a file")
    (slot,) = find_slots(Resources())
    with pytest.raises(MissingError, match=r"devices.* VLBENCH_CACHE names another place"):
        occupy(slot)
