"""The local launcher with workers that take no time to start."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.runs.toys import Quiet, make, toy_specs, use_toys
from vlbench.errors import MissingError, UsageError
from vlbench.runs.folder import RunFolder
from vlbench.runs.launch import Outcome, Resources, find_launcher
from vlbench.runs.local import LocalLauncher, find_slots


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_toys(monkeypatch)
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("VLBENCH_FAKE_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def run(results: Path, count: int, **resources: object) -> tuple[list[Outcome], Quiet]:
    view = Quiet()
    given = Resources(**{"devices": "cpu", **resources})  # type: ignore[arg-type]
    return find_launcher(given).run(toy_specs(count), results, view), view


def events(folder: RunFolder) -> list[str]:
    lines = folder.attempts_file.read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_outcomes_come_in_the_order_of_the_plan_and_no_failure_stops_another_run(
    tmp_path: Path,
) -> None:
    programs = (
        "time.sleep(0.2)",
        "folder.write_status('failed', 1, error='first\\nlast', exit_code=1); sys.exit(1)",
        "os.kill(os.getpid(), 9)",
        "",
        "os._exit(0)",
    )
    folders = [make(tmp_path, *pair) for pair in zip(toy_specs(5), programs, strict=True)]
    folders[4].write_status("done", 1, error="an earlier attempt's", exit_code=256)
    outcomes, view = run(tmp_path, 5, jobs=3)
    ends = ["done", "failed", "stopped", "done", "failed"]
    assert [outcome.status for outcome in outcomes] == ends
    assert [outcome.exit_code for outcome in outcomes] == [0, 1, 1, 0, 1]
    assert outcomes[1].error == "first"
    assert "killed (SIGKILL)" in outcomes[2].error
    assert events(folders[2]) == ["began"]
    assert "ended with 0 and left no result" in outcomes[4].error
    ends = [text for _, text in view.over]
    assert {"done", "failed: first"} < set(ends) and len(ends) == 5
    again, view = run(tmp_path, 1)
    assert again[0].status == "done" and "done before" in view.said[0] and not view.begun


def test_a_run_killed_after_its_result_is_tidied_up(tmp_path: Path) -> None:
    folder, torn, bare = (make(tmp_path, spec) for spec in toy_specs(3))
    folder.note_attempt(1, "began")
    folder.write_status("running", 1)
    folder.checkpoints.folder.mkdir()
    (folder.path / ".status.json.1-ab.tmp").touch()
    torn.note_attempt(1, "began")
    with torn.attempts_file.open("a") as file:
        file.write('{"attempt": 1, "event": "done", "at": "20')
    torn.status_file.write_text('{"status": "runn')
    for each in (folder, torn, bare):  # the last was kept without its attempts
        each.result.touch()
    before = sorted(file.name for file in bare.path.iterdir())
    for _ in range(2):
        assert [outcome.status for outcome in run(tmp_path, 3)[0]] == ["done"] * 3
        assert events(folder) == ["began", "done"]
        assert not folder.checkpoints.folder.exists()
        assert not list(folder.path.glob(".*.tmp"))
        lines = torn.attempts_file.read_text().splitlines()
        assert [json.loads(line)["event"] for line in (lines[0], lines[-1])] == ["began", "done"]
        assert [each.status()["status"] for each in (folder, torn)] == ["done", "done"]
        assert sorted(file.name for file in bare.path.iterdir()) == before


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_over_its_time_ends_as_timeout_and_is_killed_where_it_does_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlbench.runs.launch.KILL_SECONDS", 1.2)
    deaf = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [15])\ntime.sleep(60)"
    programs = ("time.sleep(60)", deaf)
    folders = [make(tmp_path, *pair) for pair in zip(toy_specs(2), programs, strict=True)]
    outcomes, _ = run(tmp_path, 2, jobs=2, time_limit_minutes=0.05)  # one begins in a second
    assert [(end.status, end.exit_code) for end in outcomes] == [("timeout", 1)] * 2
    assert [events(folder) for folder in folders] == [["began", "timeout"], ["began"]]
    assert "killed (SIGKILL)" in outcomes[1].error


def test_an_interrupt_leaves_no_worker_and_a_state_to_go_on_from(tmp_path: Path) -> None:
    folders = [make(tmp_path, spec, "time.sleep(60)") for spec in toy_specs(3)]

    def interrupt() -> None:
        while [folder.status().get("status") for folder in folders[:2]] != ["running"] * 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 3, jobs=2)
    assert [folder.state for folder in folders] == ["cancelled", "cancelled", "planned"]
    for folder in folders[:2]:
        with pytest.raises(ProcessLookupError):
            os.kill(folder.status()["pid"], 0)


def test_a_run_whose_folder_cannot_be_used_stops_no_other(tmp_path: Path) -> None:
    deep, other, folder, log, _ = (make(tmp_path, spec, "") for spec in toy_specs(5))
    deep.spec_file.write_text("[" * 100_000)
    other.spec_file.write_text("{}")
    folder.spec_file.unlink()
    folder.spec_file.mkdir()
    log.log.mkdir()
    outcomes, view = run(tmp_path, 5)
    assert [outcome.status for outcome in outcomes] == ["failed"] * 4 + ["done"]
    assert all(
        outcome.exit_code and str(outcome.folder.path) in outcome.error for outcome in outcomes[:4]
    )
    assert "log.txt: Is a directory" in outcomes[3].error
    assert sum("not started" in text for text in view.said) == 3


def names(**resources: object) -> list[str]:
    return [slot.name for slot in find_slots(Resources(**resources))]  # type: ignore[arg-type]


def test_slots_are_gpus_groups_of_them_or_jobs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    assert names(devices="cpu") == ["cpu"]
    assert names(devices="cpu", jobs=3) == ["cpu 0", "cpu 1", "cpu 2"]
    for processes, threads in ((1, 4), (2, 2)):
        slots = find_slots(Resources(devices="cpu", jobs=2, processes=processes))
        assert {slot.threads for slot in slots} == {threads}
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "5")
    assert names() == [f"GPU {n}" for n in range(5)]
    assert names(devices="3,1,3") == ["GPU 3", "GPU 1"]
    assert names(processes=2) == ["GPUs 0, 1", "GPUs 2, 3"]
    assert find_slots(Resources(processes=2))[1].gpus == "2,3"
    assert LocalLauncher(Resources()).device == "cpu"


def test_numbers_count_what_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-ab12,7")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [slot.gpus for slot in find_slots(Resources())] == ["GPU-ab12", "7"]
    assert [slot.gpus for slot in find_slots(Resources(devices="1"))] == ["7"]
    assert LocalLauncher(Resources()).device == "cuda"


@pytest.mark.parametrize(
    ("resources", "error", "text"),
    [
        ({"devices": "tpu"}, UsageError, "--devices tpu: should be auto, cpu, or GPUs' numbers"),
        ({"devices": "0,"}, UsageError, "--devices 0,: should be"),
        ({"devices": "2"}, MissingError, "--devices 2: this machine has 2 GPUs"),
        ({"jobs": 2}, UsageError, "--jobs 2 is for the CPU"),
        ({"processes": 3}, MissingError, "--processes 3: each takes a GPU of its own"),
    ],
)
def test_what_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, object], error: type, text: str
) -> None:
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "2")
    with pytest.raises(error, match=text):
        names(**resources)
