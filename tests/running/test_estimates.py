"""What a run will take, by earlier ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.running.test_spec import METHOD, SPEC
from vlbench.running.state import Estimates, total_seconds

CPU = "cpu: Some Processor"


def earlier(results: Path, key: str, seconds: float = 100.0, **changes: Any) -> None:
    """A result of two tasks, each with a row for all and one for a family."""
    shared = {
        "method": "mine",
        "settings": "",
        "suite": "gqa",
        "backbone": "mini-bart",
        "edition": "mini",
        "limit": None,
        "device": CPU,
        "split": "test",
        "train_seconds": seconds,
        "peak_memory_bytes": int(seconds * 1e6),
        **changes,
    }
    rows = [
        {**shared, "task": task, "family": family, "evaluate_seconds": time}
        for task, time in (("gqa", 4.0), ("coco", 6.0))
        for family in ("", "what")
    ]
    folder = results / "runs" / key
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "result.parquet")


def test_nothing_is_estimated_from_nothing(tmp_path: Path) -> None:
    assert Estimates(tmp_path, CPU).of(SPEC) is None


def test_training_and_the_testing_of_each_task_are_counted_once(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    found = Estimates(tmp_path, CPU).of(SPEC)
    assert found is not None
    assert (found.seconds, found.peak_memory_bytes) == (110.0, 100_000_000)
    assert (found.runs, found.is_rough) == (1, False)


def test_it_is_the_median_of_the_runs_of_the_method(tmp_path: Path) -> None:
    for key, seconds in (("a", 100.0), ("b", 300.0), ("c", 110.0)):
        earlier(tmp_path, key, seconds)
    earlier(tmp_path, "other", 1000.0, method="other")
    found = Estimates(tmp_path, CPU).of(SPEC)
    assert found is not None and (found.seconds, found.runs, found.is_rough) == (120.0, 3, False)


def test_other_methods_and_settings_give_a_rough_one(tmp_path: Path) -> None:
    earlier(tmp_path, "a", 100.0, method="other")
    earlier(tmp_path, "b", 200.0, settings="train.epochs=3")
    found = Estimates(tmp_path, CPU).of(SPEC)
    assert found is not None and (found.seconds, found.runs, found.is_rough) == (160.0, 2, True)
    own = SPEC.model_copy(update={"settings": ("train.epochs=3",)})
    found = Estimates(tmp_path, CPU).of(own)
    assert found is not None and (found.seconds, found.is_rough) == (210.0, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "cpu: Another Processor"},
        {"device": f"2 x {CPU}"},
        {"suite": "image-text"},
        {"backbone": "clip-t5"},
        {"edition": "full"},
        {"limit": 64},
    ],
    ids=str,
)
def test_other_devices_and_data_say_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    earlier(tmp_path, "a", **changes)
    assert Estimates(tmp_path, CPU).of(SPEC) is None


def test_a_device_without_a_name_is_any_of_its_kind(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    assert Estimates(tmp_path, "cpu: ").of(SPEC)
    assert Estimates(tmp_path, "cuda: ").of(SPEC) is None


def test_a_damaged_result_is_left_out(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "result.parquet").write_bytes(b"PAR1 and no more")
    found = Estimates(tmp_path, CPU).of(SPEC)
    assert found is not None and found.runs == 1


def test_an_older_result_without_a_column_is_left_out(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    file = tmp_path / "runs" / "a" / "result.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["device"]), file)
    assert Estimates(tmp_path, CPU).of(SPEC) is None


def test_a_plan_takes_its_share_of_the_slots_but_no_less_than_its_longest_run() -> None:
    assert total_seconds([10.0, 10.0, 10.0], 1) == 30.0
    assert total_seconds([10.0, 10.0, 10.0, 10.0], 2) == 20.0
    assert total_seconds([30.0, 10.0], 4) == 30.0
    assert total_seconds([], 4) == 0.0


def test_a_spec_of_another_name_is_another_method(tmp_path: Path) -> None:
    earlier(tmp_path, "a")
    other = SPEC.model_copy(update={"method": METHOD.model_copy(update={"name": "other"})})
    found = Estimates(tmp_path, CPU).of(other)
    assert found is not None and found.is_rough
