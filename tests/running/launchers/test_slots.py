"""Which places a machine has."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from vlbench.errors import MissingError, UsageError
from vlbench.running.launchers import Resources
from vlbench.running.launchers.local import computing_device, find_slots, occupy


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
    monkeypatch.setattr("vlbench.running.lock.fcntl.flock", no_locks)
    monkeypatch.setattr("vlbench.running.lock.POLL_SECONDS", 0.02)
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
