"""How each cell of a plan stands, and what made it stale."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.runs.test_folder import created
from tests.runs.test_spec import METHOD, SPEC, TASK
from vlbench.cards.load import PROSE
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import NOT_IN_KEY, RunSpec
from vlbench.runs.state import Cell, cells, differences


def spec(**changes: Any) -> RunSpec:
    return SPEC.model_copy(update=changes)


def method(**changes: Any) -> RunSpec:
    return spec(method=METHOD.model_copy(update=changes))


OLD = method(params={"reduction": 4})


def done(results: Path, spec: RunSpec, when: float = 1.0) -> RunFolder:
    folder = created(results, spec)
    folder.result.touch()
    os.utime(folder.result, (when, when))
    return folder


def state(results: Path) -> Cell:
    (cell,) = cells([SPEC], results)
    return cell


def test_what_never_began_is_missing_and_nothing_is_written(tmp_path: Path) -> None:
    assert state(tmp_path / "none").state == "missing"
    assert not list(tmp_path.iterdir())
    created(tmp_path, OLD).write_status("failed", 1, error="no")  # is no older result
    created(tmp_path)
    assert state(tmp_path).state == "missing"


def test_a_running_one_tells_where_and_a_queued_one_its_job(tmp_path: Path) -> None:
    folder = created(tmp_path)
    with folder.lock.acquire("GPU 3"):
        cell = state(tmp_path)
    assert (cell.state, cell.reason) == ("running", f"on {socket.gethostname()} GPU 3")
    folder.job_file.write_text(json.dumps({"launcher": "slurm", "job": "12_3", "attempts": 0}))
    assert (state(tmp_path).state, state(tmp_path).reason) == ("queued", "slurm 12_3")


@pytest.mark.parametrize(
    "error", ["Traceback\n  here\nfailed: what was wrong\n", "failed: what was wrong\n  at"]
)
def test_one_that_ended_badly_tells_the_line_of_its_error_that_says_why(
    tmp_path: Path, error: str
) -> None:
    created(tmp_path).write_status("failed", 1, error=error)
    done(tmp_path, OLD)
    assert (state(tmp_path).state, state(tmp_path).reason) == ("failed", "what was wrong")


def test_the_newest_done_run_of_the_cell_with_another_key_makes_it_stale(tmp_path: Path) -> None:
    done(tmp_path, OLD)
    torn = tmp_path / "runs" / "torn"
    torn.mkdir()
    (torn / "spec.json").write_text("{")
    (torn / "result.parquet").touch()
    for is_planned in (False, True):
        if is_planned:
            created(tmp_path)
        cell = state(tmp_path)
        assert (cell.state, cell.older) == ("stale", OLD.key)
        assert cell.reason == "method.params.reduction 4 -> 8"
    done(tmp_path, spec(backbone_hash="c" * 64), 3.0)
    done(tmp_path, spec(data={"gqa": "e" * 64}), 2.0)
    assert state(tmp_path).reason == "backbone_hash changed"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"settings": ("params.reduction=4",)},
        {"method": METHOD.model_copy(update={"name": "other"})},
        {"init": "LAST.safetensors", "init_hash": "a" * 64},
    ],
    ids=str,
)
def test_a_run_of_another_cell_makes_nothing_stale(tmp_path: Path, changes: dict[str, Any]) -> None:
    done(tmp_path, OLD.model_copy(update=changes))
    assert state(tmp_path).state == "missing"


@pytest.mark.parametrize(
    ("old", "text"),
    [
        (method(params={"reduction": 4}), "method.params.reduction 4 -> 8"),
        (method(params={}), "method.params.reduction null -> 8"),
        (
            spec(tasks=(TASK.model_copy(update={"prompt": "vqa: "}),)),
            'tasks.gqa.prompt "vqa: " -> "gpa: "',
        ),
        (spec(data={"gqa": "e" * 64}), "data.gqa changed"),
        (spec(backbone_hash="c" * 64), "backbone_hash changed"),
        (spec(code={"mine:Mine": "f"}), 'code."mine:Mine" changed'),
        (spec(key_version=0), "key_version 0 -> 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_in_the_key_has_words(old: RunSpec, text: str) -> None:
    assert old.key != SPEC.key
    assert differences(old, SPEC) == [text]


def test_differences_are_told_together_and_what_is_not_in_the_key_is_not() -> None:
    old = method(params={"reduction": 4}, sharing="task")
    assert differences(old.model_copy(update={"data": {"gqa": "e" * 64}}), SPEC) == [
        *("data.gqa changed", "method.params.reduction 4 -> 8", 'method.sharing "task" -> "all"')
    ]
    moved = {"root": "elsewhere", "backbone_path": "x", "device": "cuda", "features": ("f",)}
    assert set(moved) <= set(NOT_IN_KEY) and {"title", "source"} <= PROSE
    assert differences(spec(**moved), SPEC) == []
    assert differences(method(title="Other", source="elsewhere"), SPEC) == []
    tasks = (TASK, TASK.model_copy(update={"name": "coco"}))
    old = spec(tasks=tasks, data={"gqa": "d" * 64, "coco": "c" * 64})
    assert differences(old, SPEC) == ['task_names ["gqa", "coco"] -> ["gqa"]']
    old, new = (spec(init="LAST.safetensors", init_hash=digit * 64) for digit in "ab")
    assert differences(old, new) == ["init_hash changed"]
