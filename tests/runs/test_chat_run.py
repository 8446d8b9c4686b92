"""A run on a chat backbone, with pictures in place of features: planned, done and verified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.backbones.families import BY_NAME, write_family
from tests.runs.builders import Bench, do, predictions, rows
from vlbench.errors import UsageError
from vlbench.runs.plan import Selection, adapted, plan
from vlbench.techniques.adapt import count
from vlbench.verify.verify import Verifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(BY_NAME["llava"], tmp_path_factory.mktemp("llava") / "tiny-llava")


@pytest.fixture
def selection(bench: Bench, folder: Path) -> Selection:
    return Selection(
        methods=("shared-adapter",),
        tasks="vqav2,nlvr2",
        backbone=str(folder),
        root=bench.root,
        settings=("train.epochs=1", "train.batch_size=8", "train.learning_rate=1e-3"),
        limit=8,
        max_batch=3,
    )


def test_a_run_on_a_chat_backbone_is_planned_done_and_verified(
    selection: Selection, tmp_path: Path
) -> None:
    (spec,) = plan(selection)
    assert spec.backbone == "tiny-llava"
    run = do(spec, tmp_path)
    result, counts = rows(run), count(adapted(spec, meta=True))
    assert {row["task"] for row in result} == {"vqav2", "nlvr2"}
    assert {row["trainable_parameters"] for row in result} == {counts.trainable}
    assert {row["denominator"] for row in result} == {counts.denominator}
    assert {row["prediction"] for row in predictions(run)["nlvr2"]} <= {"true", "false"}
    verified = Verifier().verify(run.path)
    assert not verified.findings.faults and verified.findings.checked > 50


def test_zero_shot_answers_without_training(selection: Selection, tmp_path: Path) -> None:
    (plain,) = plan(replace(selection, methods=("zero-shot",), settings=()))
    said: list[str] = []
    (spec,) = plan(replace(selection, methods=("zero-shot",)), said.append)
    assert spec.key == plain.key and spec.settings == ()
    assert "zero-shot trains nothing: train.epochs=1, train.batch_size=8" in " ".join(said)
    run = do(spec, tmp_path)
    (trained,) = {row["trainable_parameters"] for row in rows(run)}
    assert trained == 0 and not run.curve.read_text()
    (row, *_) = rows(run)
    assert row["projector"] is False and row["model_parameters"] > row["total_parameters"]
    assert not Verifier().verify(run.path).findings.faults


@pytest.mark.slow
def test_clips_are_read_as_frames(selection: Selection, tmp_path: Path) -> None:
    (spec,) = plan(replace(selection, tasks="yc2c", root=None, limit=3, max_batch=1))
    assert {row["task"] for row in rows(do(spec, tmp_path))} == {"yc2c"}


REFUSED: dict[str, dict[str, Any]] = {
    "--encoder: 'tiny-llava' reads pictures": {"encoder": "mini"},
    "--features: 'tiny-llava' reads pictures": {"features": (Path("store"),)},
    "train.epochs: 0, and something would train": {"settings": ("train.epochs=0",)},
    "lst walks beside an encoder": {"methods": ("lst",)},
    "vl_pet gates an encoder": {"methods": ("vl-pet-large",)},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_chat_backbone_cannot_do_is_refused_when_it_is_planned(
    selection: Selection, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan(replace(selection, **REFUSED[message]))
