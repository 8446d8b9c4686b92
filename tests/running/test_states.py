"""How each cell of a plan stands."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.running.test_spec import METHOD, SPEC
from vlbench.running.folder import ENDINGS, RunFolder
from vlbench.running.spec import RunSpec
from vlbench.running.state import CELL_STATES, Cell, cells, counted

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
    table = json.loads(OLD.to_json()) | {"key_version": 0, "dialect": "old"}
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
