"""One run from its spec to its result; what fails it leaves nothing that reads as a result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.runs.builders import Bench, do, predictions, rows
from vlbench.backbones import build_backbone
from vlbench.data.batches import Batch, FeatureData
from vlbench.data.readers import load_reader
from vlbench.metrics import Scored
from vlbench.parquet import COLUMNS
from vlbench.runs import execute
from vlbench.runs.callbacks import Callbacks
from vlbench.runs.execute import Run
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.runs.stopping import Stop
from vlbench.runs.watch import Progress
from vlbench.techniques.adapt import (
    AdaptedModel,
    adapt,
    frozen_checksum,
    load_trained_state,
    trained_parameters,
)
from vlbench.techniques.lora import Update
from vlbench.training.predict import answers
from vlbench.training.train import Trainer

Finished = tuple[RunSpec, RunFolder]


def curve(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.curve.read_text().splitlines()]


def assert_equal_results(one: RunFolder, other: RunFolder) -> None:
    assert rows(one) == rows(other)
    assert predictions(one) == predictions(other)
    assert one.adapter.read_bytes() == other.adapter.read_bytes()


def test_a_trial_is_scored_on_the_validation_splits_once(bench: Bench, tmp_path: Path) -> None:
    folder = do(bench.spec(is_trial=True), tmp_path)
    assert {row["split"] for row in rows(folder)} == {"val"}
    assert not [line for line in curve(folder) if "validation" in line]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    bench: Bench, finished: Finished, tmp_path: Path
) -> None:
    spec, folder = finished
    assert_equal_results(do(spec, tmp_path), folder)
    other = do(bench.spec(seeds=(1,)), tmp_path)
    assert predictions(other)["vqav2"] != predictions(folder)["vqav2"]
    name, trained = next(iter(load_file(other.adapter).items()))
    assert not torch.equal(trained, load_file(folder.adapter)[name])


MOMENTS = {
    "within epoch 1": (Callbacks, "on_step", 7),
    "at the end of epoch 1": (Callbacks, "_save", 1),
    "before validating": (Run, "answers", 1),
    "after validating": (Callbacks, "on_epoch", 1),
    "within epoch 2": (Callbacks, "on_step", 12),
    "before testing": (execute, "test", 0),
    "between tests": (execute, "write_predictions", 1),
    "before the result": (execute, "write_result", 0),
}
"""Where a run is interrupted: after so many calls of what; 0: in the place of the first."""


def at(patch: pytest.MonkeyPatch, moment: str, act: Callable[[], object]) -> None:
    """Have something happen at that moment of a run."""
    owner, name, calls = MOMENTS[moment]
    original = getattr(owner, name)
    done: list[int] = []

    def counted(*given: Any, **named: Any) -> Any:
        done.append(1)
        result = original(*given, **named) if calls else None
        if len(done) >= calls:
            act()
        return result if calls else original(*given, **named)

    patch.setattr(owner, name, counted)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("moment", "every"),
    [
        *((moment, "0") for moment in MOMENTS),
        pytest.param("within epoch 1", "1000", marks=pytest.mark.slow),
        pytest.param("within epoch 2", "1000", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    bench: Bench,
    finished: Finished,
    tmp_path: Path,
    moment: str,
    every: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, whole = finished
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", every)
    with monkeypatch.context() as patch:
        at(patch, moment, interrupt)
        folder = do(spec, tmp_path, code=130)
    assert folder.state == "cancelled" and not folder.is_done
    assert bool(folder.checkpoints.files()) == (every == "0" or moment != "within epoch 1")
    do(spec, tmp_path)
    assert (folder.state, folder.attempts()) == ("done", 2)
    assert_equal_results(folder, whole)
    assert curve(folder) == curve(whole)
    assert not folder.checkpoints.folder.exists()


@pytest.mark.parametrize("moment", ["within epoch 2", "before testing"])
def test_a_run_told_to_stop_keeps_the_step_it_is_at(
    bench: Bench, finished: Finished, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, whole = finished
    stop = Stop()
    with monkeypatch.context() as patch:
        patch.setattr("vlbench.runs.stopping.Stop", lambda: stop)
        at(patch, moment, lambda: stop.ask("preempted"))
        folder = do(spec, tmp_path, code=130)
    assert folder.state == "preempted"
    (newest, *_) = folder.checkpoints.files()
    steps = MOMENTS[moment][2]
    assert int(newest.name[5:14]) == (steps + 1 if steps else 16)  # it is asked after the step
    do(spec, tmp_path)
    assert_equal_results(folder, whole)
    assert curve(folder) == curve(whole)
    assert "going on from the checkpoint after step" in folder.log.read_text()


@pytest.mark.parametrize("text", ["", "{}", "{"])
def test_answers_are_kept_over_a_crash_in_scoring_unless_they_cannot_be_read(
    bench: Bench, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    spec, whole = finished
    with monkeypatch.context() as patch:
        patch.setattr(execute, "score", lambda *given: 1 / 0)
        folder = do(spec, tmp_path, code=5)
    if text:
        (folder.answers / "vqav2.json").write_text(text)
    answered = []

    def answer(model: Any, data: Any, *more: Any) -> Any:
        answered.append(data.card.name)
        return answers(model, data, *more)

    monkeypatch.setattr(execute, "answers", answer)
    do(spec, tmp_path)
    log = folder.log.read_text()
    assert answered == (["vqav2", "nlvr2"] if text else ["nlvr2"])
    assert ("answering again" if text else "vqav2: answered in an earlier attempt") in log
    assert_equal_results(folder, whole)


@pytest.mark.parametrize("spoil", ["damaged", "another version", "no state"])
def test_the_checkpoint_before_counts_where_the_newest_cannot_be_used(
    bench: Bench, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    spec, whole = finished
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", "0")
    with monkeypatch.context() as patch:
        at(patch, "before testing", interrupt)
        folder = do(spec, tmp_path, code=130)
    newest, before = folder.checkpoints.files()
    state = torch.load(newest, weights_only=True)
    if spoil == "another version":
        del state["schedule"]  # what comes before it has been taken over by then
        state["trained"] = {name: tensor + 1 for name, tensor in state["trained"].items()}
    elif spoil == "no state":
        state = [1]
    if spoil == "damaged":
        newest.write_bytes(newest.read_bytes()[:999])
    else:
        newest.unlink()
        newest = folder.checkpoints.save(int(newest.name[5:14]), state)
        do(spec, tmp_path, code=5)  # the next attempt does without it
    do(spec, tmp_path)
    log = folder.log.read_text()
    assert f"{newest}: damaged or not of this run" in log
    assert f"going on from the checkpoint after step {int(before.name[5:14])} of" in log
    assert_equal_results(folder, whole)


def test_a_result_has_the_documented_columns_a_row_for_each_value_and_every_prediction(
    bench: Bench, finished: Finished
) -> None:
    spec, folder = finished
    assert pq.read_schema(folder.result).equals(COLUMNS)
    names = [column.name for column in COLUMNS]
    assert duckdb.sql(f"select * from '{folder.result}'").columns == names
    table = pd.read_parquet(folder.result)
    assert list(table.columns) == names
    overall = table[table["family"] == ""]
    assert list(overall["metric"]) == ["vqav2.accuracy", "nlvr2.accuracy", "nlvr2.consistency"]
    assert list(overall["main"]) == [True, True, False]
    assert set(table["key"]) == {spec.key}
    families = table[(table["task"] == "vqav2") & (table["family"] != "")]
    assert families["n_examples"].sum() == overall["n_examples"].iloc[0]
    assert families["majority"].notna().all()
    for task, split in (("vqav2", "test"), ("nlvr2", "test1")):
        given = pd.read_parquet(folder.predictions / f"{task}.parquet")
        assert list(given["id"]) == [e.id for e in load_reader(task, bench.root).read(split)]
        assert given["score"].between(0, 1).all()
        assert all(json.loads(text) for text in given["references"])
    assert set(given["prediction"]) <= {"true", "false"}


@pytest.mark.parametrize("max_batch", [pytest.param(1000, marks=pytest.mark.slow), "auto"])
def test_answers_where_memory_ends_are_those_of_the_whole_batch(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_batch: Any
) -> None:
    def for_seven(answer: Callable[..., Any]) -> Callable[..., Any]:
        def scarce(self: AdaptedModel, batch: Batch, *more: Any, **named: Any) -> Any:
            if len(batch.ids) > 7:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return answer(self, batch, *more, **named)

        return scarce

    spec, whole = finished
    for name in ("generate", "choice_logits"):
        monkeypatch.setattr(AdaptedModel, name, for_seven(getattr(AdaptedModel, name)))
    folder = do(spec.model_copy(update={"max_batch": max_batch}), tmp_path)
    assert_equal_results(folder, whole)
    assert "examples at once: going on with" in folder.log.read_text()
    if max_batch == "auto":
        out = do(spec, tmp_path / "other", code=1)
        assert out.state == "out-of-memory"
        assert "--max-batch auto" in out.status()["error"]


def prepared(spec: RunSpec, results: Path) -> Run:
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    return Run(spec, folder, 1, Progress(folder.log, is_shown=False))


def test_only_what_trains_changes_and_is_kept_and_loads_back(bench: Bench, tmp_path: Path) -> None:
    run = prepared(bench.spec(settings=("train.epochs=1", "train.batch_size=60")), tmp_path)
    execute.train_and_test(run)
    assert set(load_file(run.folder.adapter)) == set(trained_parameters(run.model))
    fresh = adapt(build_backbone("mini-bart", bench.backbone), run.spec.method, ["vqav2", "nlvr2"])
    assert frozen_checksum(fresh) == frozen_checksum(run.model)
    task = run.tasks[0]
    batch = run.data(task, task.test).batch(task.test, [("yes", 1.0)] * len(task.test))
    expected = run.model.eval()(batch)
    assert not torch.equal(fresh.eval()(batch), expected)
    load_trained_state(fresh, load_file(run.folder.adapter), "")
    assert torch.equal(fresh(batch), expected)


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in ("hyperformer", "lst")]


@pytest.mark.parametrize("method", ["compacter", "lora", *SLOW])
def test_what_a_run_answers_is_what_its_weights_answer(
    bench: Bench, tmp_path: Path, method: str
) -> None:
    """Whatever was kept while it validated, epoch by epoch."""
    settings = ("train.epochs=6", "train.learning_rate=0.02", "train.batch_size=30")
    spec = bench.spec(method=method, settings=settings)
    folder = do(spec, tmp_path)
    again = Run(spec, RunFolder(tmp_path), 1, Progress(None))
    again.prepare()
    load_trained_state(again.model.eval(), load_file(folder.adapter), "")
    for task in again.tasks:
        given = {row["id"]: row["prediction"] for row in predictions(folder)[task.card.name]}
        assert again.answers(task, task.test) == given


# What fails a run.

ONE_STEP = ("train.epochs=1", "train.batch_size=1000", "train.warmup_ratio=0")
ONE = {"tasks": "vqav2", "settings": (*ONE_STEP, "train.learning_rate=1e-3")}


def failed(spec: RunSpec, results: Path, code: int = 1) -> str:
    """The error of a run that fails before its test and leaves nothing."""
    folder = do(spec, results, code)
    assert folder.state == "failed" and not folder.is_done
    assert not folder.answers.exists() and not folder.adapter.exists()
    assert folder.status()["error"] in folder.log.read_text()
    return str(folder.status()["error"])


def test_a_frozen_tensor_that_moves_fails_the_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(self: Trainer, watcher: object) -> None:
        with torch.no_grad():
            self.bare.backbone.token_embedding[0, 0] += 1

    monkeypatch.setattr(Trainer, "train", move)
    assert "should be frozen" in failed(bench.spec(), tmp_path)


def test_a_loss_or_weights_that_are_not_finite_name_the_step(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec(settings=("train.learning_rate=1e30", "train.batch_size=30"))
    error = failed(spec, tmp_path)
    assert re.search(r"Loss nan.* at step \d+ \(task \w+\)\. Not finite: tensor", error)
    settings = (*ONE_STEP, "train.learning_rate=1e38")
    spec = bench.spec("shared-lora", tasks="vqav2", settings=settings)
    assert "Not finite after step 1: tensor 'backbone.visual" in failed(spec, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_to_start_from_that_are_not_finite_are_named(
    bench: Bench, finished: Finished, tmp_path: Path, value: float
) -> None:
    tensors = load_file(finished[1].adapter)
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[0] = value
    file = tmp_path / "init.safetensors"
    save_file(tensors, file)
    error = failed(bench.spec(init=file), tmp_path, code=3)
    assert error.startswith(f"{file}: tensor '{name}' holds NaN or infinity")


def test_test_features_or_scores_that_are_not_finite_fail_the_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, whole = bench.spec(**ONE), FeatureData.batch

    def batch(self: FeatureData, examples: Any, answers: Any) -> Batch:
        batch = whole(self, examples, answers)
        if answers is None:  # validation and test
            batch.features[0, 0, 0, 0] = float("nan")
        return batch

    def metric(annotations: Any, predictions: Any) -> Scored:
        return Scored({"accuracy": float("nan")}, dict.fromkeys(predictions, 0.0))

    with monkeypatch.context() as patch:
        patch.setattr(FeatureData, "batch", batch)
        assert "vqav2: the features of " in failed(spec, tmp_path, code=3)
    monkeypatch.setattr("vlbench.runs.result.load_metric", lambda *_: metric)
    error = failed(spec, tmp_path, code=2)
    assert "metric: 'vqa' gives nan for accuracy" in error


def test_a_technique_whose_hook_swaps_its_arguments_fails_before_it_trains(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = bench.spec("shared-lora", tasks="vqav2")
    forward = Update.forward
    monkeypatch.setattr(Update, "forward", lambda self, x, y: forward(self, y, x))
    assert "LoRA says starts_as_identity" in failed(spec, tmp_path, code=2)


def test_data_that_changed_since_the_plan_are_refused(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec()
    other = spec.model_copy(update={"data": {**spec.data, "nlvr2": "0" * 64}})
    assert "The data of 'nlvr2'" in failed(other, tmp_path, code=3)


def test_a_run_for_a_gpu_does_not_fall_back_to_the_cpu(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "planned for a GPU" in failed(bench.spec(device="cuda"), tmp_path, code=3)
