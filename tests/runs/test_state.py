"""How each cell of a plan stands."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.runs.test_spec import METHOD, SPEC, TASK
from vlbench.cards.load import PROSE
from vlbench.runs.folder import ENDINGS, RunFolder
from vlbench.runs.spec import NOT_IN_KEY, RunSpec
from vlbench.runs.state import (
    CELL_STATES,
    Cell,
    Estimates,
    cells,
    counted,
    differences,
    total_seconds,
)

OLD = SPEC.model_copy(update={"method": METHOD.model_copy(update={"params": {"reduction": 4}})})


def made(results: Path, spec: RunSpec = SPEC) -> RunFolder:
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    return folder


def done(results: Path, spec: RunSpec, when: float = 1.0) -> RunFolder:
    folder = made(results, spec)
    folder.result.touch()
    os.utime(folder.result, (when, when))
    return folder


def state(results: Path, spec: RunSpec = SPEC) -> Cell:
    (cell,) = cells([spec], results)
    assert cell.state in CELL_STATES
    return cell


def test_what_is_not_there_is_missing_and_nothing_is_written(tmp_path: Path) -> None:
    assert state(tmp_path / "none").state == "missing"
    assert not list(tmp_path.iterdir())


def test_a_run_that_never_began_is_missing(tmp_path: Path) -> None:
    made(tmp_path)
    assert state(tmp_path).state == "missing"


def test_a_done_run_is_done(tmp_path: Path) -> None:
    done(tmp_path, SPEC)
    done(tmp_path, OLD)
    cell = state(tmp_path)
    assert (cell.state, cell.reason, cell.older) == ("done", "", "")


def test_a_running_one_tells_where(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with folder.lock.acquire("GPU 3"):
        cell = state(tmp_path)
    assert (cell.state, cell.reason) == ("running", f"on {socket.gethostname()} GPU 3")


def test_a_queued_one_tells_its_job(tmp_path: Path) -> None:
    folder = made(tmp_path)
    folder.job_file.write_text(json.dumps({"launcher": "slurm", "job": "12_3", "attempts": 0}))
    assert (state(tmp_path).state, state(tmp_path).reason) == ("queued", "slurm 12_3")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "error", ["Traceback\n  here\n{}: what was wrong\n", "{}: what was wrong\n  at"]
)
def test_one_that_ended_badly_tells_the_line_of_its_error_that_says_why(
    tmp_path: Path, ending: str, error: str
) -> None:
    error = error.format(ending)
    made(tmp_path).write_status(ending, 1, error=error)
    done(tmp_path, OLD)
    assert (state(tmp_path).state, state(tmp_path).reason) == (ending, "what was wrong")


def test_a_done_run_of_the_same_cell_with_another_key_makes_it_stale(tmp_path: Path) -> None:
    done(tmp_path, OLD)
    for is_planned in (False, True):
        if is_planned:
            made(tmp_path)
        cell = state(tmp_path)
        assert (cell.state, cell.older) == ("stale", OLD.key)
        assert cell.reason == "methods/mine: params.reduction 4 -> 8"


def test_the_newest_of_several_is_compared_with(tmp_path: Path) -> None:
    middle = OLD.model_copy(update={"data": {"gqa": "e" * 64}})
    newest = SPEC.model_copy(update={"backbone_hash": "c" * 64})
    for when, spec in ((3.0, newest), (1.0, OLD), (2.0, middle)):
        done(tmp_path, spec, when)
    assert state(tmp_path).reason == "weights of mini-bart changed"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"limit": 64},
        {"suite": "other"},
        {"backbone": "clip-bart"},
        {"edition": "full"},
        {"encoder": "clip-vit"},
        {"settings": ("params.reduction=4",)},
        {"method": METHOD.model_copy(update={"name": "other"})},
        {"init": "LAST.safetensors", "init_hash": "a" * 64},
    ],
    ids=str,
)
def test_a_run_of_another_cell_makes_nothing_stale(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    done(tmp_path, OLD.model_copy(update=changes))
    assert state(tmp_path).state == "missing"


def test_a_run_that_is_not_done_makes_nothing_stale(tmp_path: Path) -> None:
    made(tmp_path, OLD).write_status("failed", 1, error="no")
    assert state(tmp_path).state == "missing"


def test_a_spec_of_another_version_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    table = json.loads(OLD.to_json()) | {"key_version": 0}
    folder = done(tmp_path, OLD)
    folder.spec_file.write_text(json.dumps(table))
    torn = tmp_path / "runs" / "torn"
    torn.mkdir()
    (torn / "spec.json").write_text("{")
    (torn / "result.parquet").touch()
    assert state(tmp_path).reason.startswith("key version 0 -> 1; methods/mine: params.reduction")


def test_states_are_counted_with_what_is_done_first() -> None:
    assert counted(["missing", "failed", "done", "stale", "done"]) == (
        "2 done, 1 stale, 1 missing, 1 failed"
    )


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


def words(old: RunSpec, new: RunSpec = SPEC) -> list[str]:
    return differences(old, new)


def method(**changes: Any) -> RunSpec:
    return SPEC.model_copy(update={"method": METHOD.model_copy(update=changes)})


def test_equal_specs_differ_in_nothing() -> None:
    assert words(SPEC) == []


@pytest.mark.parametrize(
    ("old", "told"),
    [
        (method(params={"reduction": 4}), "methods/mine: params.reduction 4 -> 8"),
        (method(params={"reduction": 8, "bias": True}), "methods/mine: params.bias true -> none"),
        (method(params={}), "methods/mine: params.reduction none -> 8"),
        (
            method(train=METHOD.train.model_copy(update={"epochs": 7})),
            f"methods/mine: train.epochs 7 -> {METHOD.train.epochs}",
        ),
        (
            SPEC.model_copy(update={"tasks": (TASK.model_copy(update={"prompt": "vqa: "}),)}),
            'tasks/gqa: prompt "vqa: " -> "gpa: "',
        ),
        (SPEC.model_copy(update={"data": {"gqa": "e" * 64}}), "data of gqa changed"),
        (SPEC.model_copy(update={"backbone_hash": "c" * 64}), "weights of mini-bart changed"),
        (SPEC.model_copy(update={"code": {"mine:Mine": "f"}}), "code of mine:Mine changed"),
        (SPEC.model_copy(update={"key_version": 0}), "key version 0 -> 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_thing_in_the_key_has_words(old: RunSpec, told: str) -> None:
    assert old.key != SPEC.key
    assert words(old) == [told]


def test_several_are_told_together() -> None:
    old = method(params={"reduction": 4}, sharing="task").model_copy(
        update={"data": {"gqa": "e" * 64}}
    )
    assert words(old) == [
        "methods/mine: params.reduction 4 -> 8",
        'methods/mine: sharing "task" -> "all"',
        "data of gqa changed",
    ]


def test_what_is_not_in_the_key_is_not_told() -> None:
    moved = {"root": "elsewhere", "backbone_path": "x", "device": "cuda", "features": ("f",)}
    assert set(moved) <= set(NOT_IN_KEY)
    assert words(SPEC.model_copy(update=moved)) == []
    assert {"title", "source"} <= PROSE
    assert words(method(title="Other", source="elsewhere")) == []


def test_tasks_that_came_or_went_are_told_once() -> None:
    other = TASK.model_copy(update={"name": "coco"})
    old = SPEC.model_copy(
        update={"tasks": (TASK, other), "data": {"gqa": "d" * 64, "coco": "c" * 64}}
    )
    assert words(old) == ["tasks of gqa: gqa, coco -> gqa"]


def test_the_weights_to_start_from_are_told_by_their_file() -> None:
    new = SPEC.model_copy(update={"init": "LAST.safetensors", "init_hash": "a" * 64})
    old = new.model_copy(update={"init_hash": "b" * 64})
    assert words(old, new) == ["weights of LAST.safetensors changed"]


def test_a_card_of_the_users_own_is_told_by_its_path() -> None:
    new = SPEC.model_copy(update={"method_file": "/home/me/mine.toml"})
    assert words(method(params={"reduction": 4}), new) == [
        "/home/me/mine.toml: params.reduction 4 -> 8"
    ]
