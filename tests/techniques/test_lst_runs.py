"""Runs that begin with an initialisation from training examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.running.builders import Bench, do, predictions, rows
from vlbench.backbones.base import Backbone
from vlbench.data.readers import load_reader
from vlbench.running.callbacks import Callbacks
from vlbench.running.spec import RunSpec
from vlbench.techniques.lst import LST

READ = "initialising from training examples, one by one: 1"


def spec(bench: Bench, **params: Any) -> RunSpec:
    settings = [f"params.{name}={value}" for name, value in params.items()]
    return bench.spec(
        method="lst",
        settings=("train.epochs=2", "train.batch_size=30", "train.dropout=0.1", *settings),
    )


def test_a_resumed_run_keeps_its_initialisation_and_ends_as_the_whole_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Backbone] = []
    start, on_epoch = LST.start, Callbacks.on_epoch

    def note(self: LST, backbone: Backbone, batches: Any) -> None:
        starts.append(backbone)
        start(self, backbone, batches)

    def stop(self: Callbacks, epoch: int) -> None:
        on_epoch(self, epoch)
        raise KeyboardInterrupt

    monkeypatch.setattr(LST, "start", note)
    whole = do(spec(bench, samples=8), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Callbacks, "on_epoch", stop)
        resumed = do(spec(bench, samples=8), tmp_path / "resumed", code=130)
    assert len(starts) == 2
    do(spec(bench, samples=8), tmp_path / "resumed")
    assert len(starts) == 2
    assert rows(resumed) == rows(whole)
    assert predictions(resumed) == predictions(whole)
    assert resumed.adapter.read_bytes() == whole.adapter.read_bytes()
    assert whole.log.read_text().count(READ) == 1


def test_a_run_with_too_few_examples_uses_all_and_says_so(bench: Bench, tmp_path: Path) -> None:
    folder = do(spec(bench, samples=100_000), tmp_path)
    log = folder.log.read_text()
    assert READ in log
    examples = sum(len(load_reader(task, bench.root).read("train")) for task in ("vqav2", "nlvr2"))
    assert f"initialising from all {examples:,} training examples: there are no more" in log


def test_a_random_initialisation_reads_no_examples(bench: Bench, tmp_path: Path) -> None:
    folder = do(spec(bench, initialisation="random"), tmp_path)
    assert READ not in folder.log.read_text()
