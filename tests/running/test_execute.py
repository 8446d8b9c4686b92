"""One run from its spec to its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.running.builders import Bench, do, predictions, rows
from vlbench.backbones import build_backbone
from vlbench.columns import COLUMNS, result_schema
from vlbench.data.readers import load_reader
from vlbench.metrics import METRICS
from vlbench.metrics.java import require_java
from vlbench.running.execute import Run, load_adapter
from vlbench.running.folder import RunFolder
from vlbench.running.progress import Progress
from vlbench.running.spec import RunSpec
from vlbench.techniques.adapt import adapt
from vlbench.techniques.freezing import frozen_checksum, trained_parameters
from vlbench.training.trainer import Step, Trainer

Finished = tuple[RunSpec, RunFolder]


def adapter(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.adapter)


def assert_equal_results(one: RunFolder, other: RunFolder) -> None:
    assert rows(one) == rows(other)
    assert predictions(one) == predictions(other)
    assert one.adapter.read_bytes() == other.adapter.read_bytes()


def test_the_same_seed_gives_the_same_numbers_and_predictions(
    bench: Bench, finished: Finished, tmp_path: Path
) -> None:
    spec, folder = finished
    assert_equal_results(do(spec, tmp_path), folder)


def test_another_seed_gives_others(bench: Bench, finished: Finished, tmp_path: Path) -> None:
    other = do(bench.spec(seeds=(1,)), tmp_path)
    assert predictions(other)["vqav2"] != predictions(finished[1])["vqav2"]
    name, trained = next(iter(adapter(other).items()))
    assert not torch.equal(trained, adapter(finished[1])[name])


def curve(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.curve.read_text().splitlines()]


@pytest.mark.parametrize("moment", ["at the end of epoch 1", "within epoch 2", "before testing"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    bench: Bench,
    finished: Finished,
    tmp_path: Path,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, whole = finished
    with monkeypatch.context() as patch:
        interrupt(patch, moment)
        folder = do(spec, tmp_path, code=130)
    assert folder.state == "cancelled"
    assert folder.checkpoint.is_file()
    assert not folder.is_done
    do(spec, tmp_path)
    assert folder.state == "done"
    assert folder.attempts() == 2
    assert_equal_results(folder, whole)
    assert curve(folder) == curve(whole)
    assert not folder.checkpoint.exists()


def interrupt(patch: pytest.MonkeyPatch, moment: str) -> None:
    on_epoch, on_step = Run.on_epoch, Run.on_step

    def after_epoch(self: Run, epoch: int) -> None:
        on_epoch(self, epoch)
        if moment == "at the end of epoch 1":
            raise KeyboardInterrupt

    def after_step(self: Run, step: Step) -> None:
        on_step(self, step)
        if moment == "within epoch 2" and step.number == 12:
            raise KeyboardInterrupt

    def test(self: Run, adapter_bytes: int) -> None:
        raise KeyboardInterrupt

    patch.setattr(Run, "on_epoch", after_epoch)
    patch.setattr(Run, "on_step", after_step)
    if moment == "before testing":
        patch.setattr(Run, "_test", test)


def test_the_result_has_the_documented_columns(finished: Finished) -> None:
    _, folder = finished
    assert pq.read_schema(folder.result).equals(result_schema())
    names = [column.name for column in COLUMNS]
    assert list(pd.read_parquet(folder.result).columns) == names
    assert duckdb.sql(f"select * from '{folder.result}'").columns == names


def test_there_is_a_row_for_each_metric_and_family(finished: Finished) -> None:
    spec, folder = finished
    table = pd.read_parquet(folder.result)
    overall = table[table["family"] == ""]
    assert list(overall["metric"]) == ["vqav2.accuracy", "nlvr2.accuracy", "nlvr2.consistency"]
    assert list(overall["main"]) == [True, True, False]
    assert set(table["key"]) == {spec.key}
    families = table[(table["task"] == "vqav2") & (table["family"] != "")]
    assert families["n_examples"].sum() == overall["n_examples"].iloc[0]
    assert families["majority"].notna().all()


def test_predictions_tell_every_test_example(bench: Bench, finished: Finished) -> None:
    _, folder = finished
    for task in ("vqav2", "nlvr2"):
        file = folder.predictions / f"{task}.parquet"
        table = pd.read_parquet(file)
        split = "test" if task == "vqav2" else "test1"
        assert list(table["id"]) == [e.id for e in load_reader(task, bench.root).read(split)]
        assert table["score"].between(0, 1).all()
        assert all(json.loads(text) for text in table["references"])
        (found,) = duckdb.sql(f"select count(*) from '{file}'").fetchall()
        assert found == (len(table),)
    assert set(table["prediction"]) <= {"true", "false"}


def test_captions_have_the_cider_of_each_image_and_no_majority(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_java()
    monkeypatch.setitem(METRICS, "captions", "vlbench.metrics.captions:score_without_meteor")
    folder = do(bench.spec(tasks="coco", limit=3, settings=("train.epochs=1",)), tmp_path)
    table = pd.read_parquet(folder.result).set_index("metric")
    assert table.index[table["main"]].tolist() == ["coco.cider"]
    assert table["majority"].isna().all()
    assert set(table["scope"]) == {"smoke"}
    assert all(len(json.loads(row["references"])) == 5 for row in predictions(folder)["coco"])


@pytest.fixture
def run(bench: Bench, tmp_path: Path) -> Run:
    spec = bench.spec(settings=("train.epochs=1", "train.batch_size=60"))
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    return Run(spec, folder, 1, Progress(None))


def test_only_what_trains_changes_and_is_kept_and_loads_back(bench: Bench, run: Run) -> None:
    run.execute()
    kept = adapter(run.folder)
    assert set(kept) == set(trained_parameters(run.model))
    fresh = adapt(build_backbone("mini-bart", bench.backbone), run.spec.method, ["vqav2", "nlvr2"])
    assert frozen_checksum(fresh) == frozen_checksum(run.model)
    task = run.tasks[0]
    batch = run._data(task, task.test).batch(task.test, [("yes", 1.0)] * len(task.test))
    expected = run.model.eval()(batch)
    assert not torch.equal(fresh.eval()(batch), expected)
    load_adapter(fresh, run.folder.adapter)
    assert torch.equal(fresh(batch), expected)


def test_an_adapter_file_tells_its_card_and_is_for_all_to_read(finished: Finished) -> None:
    spec, folder = finished
    with safe_open(folder.adapter, "pt") as file:
        told = json.loads(file.metadata()["vlbench"])
    assert told["key"] == spec.key
    assert told["method"] == spec.method.model_dump(mode="json")
    assert folder.adapter.stat().st_mode & 0o777 == folder.result.stat().st_mode & 0o777


def test_a_frozen_tensor_that_moves_fails_the_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(self: Trainer, watcher: object) -> None:
        with torch.no_grad():
            self.bare.backbone.table[0, 0] += 1

    monkeypatch.setattr(Trainer, "train", move)
    folder = do(bench.spec(), tmp_path, code=1)
    assert "should be frozen" in folder.status()["error"]
    assert not folder.is_done


def test_a_loss_that_is_not_finite_names_step_and_example(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec(settings=("train.learning_rate=1e30", "train.batch_size=30"))
    folder = do(spec, tmp_path, code=1)
    assert folder.state == "failed"
    error = folder.status()["error"]
    assert "nan at step " in error
    assert "first example " in error
    assert error in folder.log.read_text()
    assert not folder.is_done
    assert not folder.adapter.exists()


def test_data_that_changed_since_the_plan_are_refused(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec()
    other = spec.model_copy(update={"data": {**spec.data, "nlvr2": "0" * 64}})
    folder = do(other, tmp_path, code=3)
    assert "The data of 'nlvr2'" in folder.status()["error"]


def test_a_damaged_checkpoint_is_named(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec()
    folder = RunFolder.of(tmp_path, spec)
    folder.checkpoint.parent.mkdir(parents=True)
    folder.checkpoint.write_bytes(b"half a checkpoi")
    do(spec, tmp_path, code=3)
    assert f"{folder.checkpoint}: damaged" in folder.status()["error"]


def test_a_method_without_sight_gets_the_same_answers_on_other_pictures(
    bench: Bench, tmp_path: Path
) -> None:
    spec = bench.spec(settings=("train.epochs=1", "train.blind=true"), tasks="nlvr2")
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    run = Run(spec, folder, 1, Progress(None))
    run.execute()
    task = run.tasks[0]
    batch = run._data(task, task.test).batch(task.test, None)
    assert not batch.features.any()
