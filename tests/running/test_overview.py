"""How far the runs of a results folder are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running.test_bars import TRAINING
from tests.running.test_spec import SPEC
from tests.running.test_watch import made
from vlbench.running.spec import RunSpec
from vlbench.running.watch import PROGRESS, Overview, told

SPECS = [SPEC.model_copy(update={"seed": seed}) for seed in range(4)]


def test_runs_at_work_come_first_with_their_progress(tmp_path: Path) -> None:
    done, failed, running, planned = (made(tmp_path, spec) for spec in SPECS)
    done.result.touch()
    failed.write_status("failed", 1, error="first\nfailed: last", **TRAINING)
    running.write_status("running", 1, **TRAINING)
    with running.lock.acquire("GPU 0"):
        items = Overview(tmp_path).items()
    assert [item["status"] for item in items] == ["running", "failed", "done", "planned"]
    first, second, *_ = items
    assert {name: first[name] for name in PROGRESS} == TRAINING
    assert first["where"].endswith(" GPU 0") and first["error"] == ""
    assert second["error"] == "first\nfailed: last" and second["where"] == ""
    assert {second[name] for name in PROGRESS} == {None}
    assert planned.path.name == items[3]["key"]


def test_what_changed_is_seen_and_what_cannot_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path, SPEC)
    overview = Overview(tmp_path)
    assert overview.items()[0]["status"] == "planned"
    folder.write_status("failed", 1, error="no")
    monkeypatch.setattr(RunSpec, "read", None)
    assert overview.items()[0]["status"] == "failed"
    folder.result.touch()
    assert overview.items()[0]["status"] == "done"
    monkeypatch.setattr("vlbench.running.watch._now", None)
    assert overview.items()[0]["status"] == "done"


def test_progress_in_words() -> None:
    assert told({}) == {"phase": "starting"}
    assert told({"phase": "training"}) == {"phase": "training"}
    assert told({"phase": "training", "epoch": 1}) == {"phase": "epoch 1"}
    assert told(TRAINING) == {
        "phase": "epoch 2",
        "step": "1,200/2,400",
        "loss": "2.314",
        "rate": "181",
        "left": "12 min 13 s",
    }
