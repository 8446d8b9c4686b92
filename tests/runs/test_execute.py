"""One run from its spec to its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.runs.builders import Bench, do, predictions, rows
from vlbench.backbones import build_backbone
from vlbench.cards.load import load_task
from vlbench.data.batches import Batch
from vlbench.data.example import Example
from vlbench.data.readers import load_reader
from vlbench.metrics import METRICS, Scored
from vlbench.metrics.java import require_java
from vlbench.parquet import COLUMNS, result_schema
from vlbench.runs import callbacks, execute
from vlbench.runs.callbacks import Callbacks
from vlbench.runs.execute import load_adapter
from vlbench.runs.folder import RunFolder
from vlbench.runs.result import Rows
from vlbench.runs.run import Run
from vlbench.runs.spec import RunSpec
from vlbench.runs.stopping import Stop
from vlbench.runs.watch import Progress
from vlbench.techniques.adapt import AdaptedModel, adapt, frozen_checksum, trained_parameters
from vlbench.training.predict import answers
from vlbench.training.train import Trainer

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


MOMENTS = {
    "within epoch 1": (Callbacks, "on_step", 7),
    "at the end of epoch 1": (Callbacks, "_save", 1),
    "before validating": (Run, "answers", 1),
    "after validating": (Callbacks, "on_epoch", 1),
    "within epoch 2": (Callbacks, "on_step", 12),
    "before testing": (execute, "test", 0),
    "between tests": (execute, "write_predictions", 1),
    "before scoring": (execute, "score", 0),
    "before the result": (Rows, "write", 0),
}
"""Where a run is interrupted: after so many calls of what; 0: in the place of the first."""


@pytest.mark.parametrize("every", ["0", "1000"])
@pytest.mark.parametrize("moment", MOMENTS)
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
        interrupt(patch, *MOMENTS[moment])
        folder = do(spec, tmp_path, code=130)
    assert folder.state == "cancelled"
    assert not folder.is_done
    assert bool(folder.checkpoints.files()) == (every == "0" or "within epoch 1" not in moment)
    do(spec, tmp_path)
    assert folder.state == "done"
    assert folder.attempts() == 2
    assert_equal_results(folder, whole)
    assert curve(folder) == curve(whole)
    assert not folder.checkpoints.folder.exists()


def interrupt(patch: pytest.MonkeyPatch, owner: Any, name: str, calls: int) -> None:
    """Have it raise after so many calls."""
    original = getattr(owner, name)
    done: list[int] = []

    def counted(*given: Any, **named: Any) -> Any:
        done.append(1)
        result = original(*given, **named) if calls else None
        if len(done) >= calls:
            raise KeyboardInterrupt
        return result

    patch.setattr(owner, name, counted)


@pytest.mark.parametrize("moment", ["within epoch 2", "before testing"])
def test_a_run_told_to_stop_keeps_the_step_it_is_at(
    bench: Bench, finished: Finished, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, whole = finished
    stop = Stop()
    monkeypatch.setattr("vlbench.runs.stopping.Stop", lambda: stop)
    with monkeypatch.context() as patch:
        owner, name, calls = MOMENTS[moment]
        original = getattr(owner, name)
        done: list[int] = []

        def ask(*given: Any, **named: Any) -> Any:
            done.append(1)
            if len(done) >= max(1, calls):
                stop.ask("preempted")
            return original(*given, **named)

        patch.setattr(owner, name, ask)
        folder = do(spec, tmp_path, code=130)
    assert folder.state == "preempted"
    (newest, *_) = folder.checkpoints.files()
    assert newest.name.startswith("step-000000012" if calls else "step-0000000")
    monkeypatch.undo()
    monkeypatch.setenv("VLBENCH_CACHE", str(bench.root.parent / "cache"))
    do(spec, tmp_path)
    assert_equal_results(folder, whole)
    assert curve(folder) == curve(whole)
    told = [line[21:] for line in folder.log.read_text().splitlines()]
    assert any(line.startswith("going on from the checkpoint after step") for line in told)


def test_answers_are_kept_over_a_crash_in_scoring(
    bench: Bench, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, whole = finished
    with monkeypatch.context() as patch:
        patch.setattr(execute, "score", lambda *given: 1 / 0)
        folder = do(spec, tmp_path, code=5)
    with monkeypatch.context() as patch:
        patch.setattr("vlbench.runs.run.answers", answer_only("nlvr2"))
        do(spec, tmp_path)
    assert "vqav2: answered in an earlier attempt" in folder.log.read_text()
    assert_equal_results(folder, whole)


def answer_only(task: str) -> Any:
    def answer(model: Any, data: Any, *more: Any) -> Any:
        assert data.card.name == task
        return answers(model, data, *more)

    return answer


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


@pytest.mark.parametrize("max_batch", [1000, "auto"])
def test_answers_where_memory_ends_are_those_of_the_whole_batch(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_batch: Any
) -> None:
    spec, whole = finished
    for name in ("generate", "choice_logits"):
        monkeypatch.setattr(AdaptedModel, name, for_seven(getattr(AdaptedModel, name)))
    folder = do(spec.model_copy(update={"max_batch": max_batch}), tmp_path)
    assert_equal_results(folder, whole)
    assert "examples at once: going on with" in folder.log.read_text()
    out = do(spec, tmp_path / "other", code=1)
    assert out.state == "out-of-memory"
    assert "--max-batch auto" in out.status()["error"]


def for_seven(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The same with memory for seven examples."""

    def scarce(self: AdaptedModel, batch: Batch, *more: Any, **named: Any) -> Any:
        if len(batch.ids) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answer(self, batch, *more, **named)

    return scarce


@pytest.mark.parametrize(("seconds", "is_early"), [(1e6, True), (0.0, False)])
def test_what_scores_the_test_is_started_once_before_training_ends(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    is_early: bool,
) -> None:
    told: list[Any] = []

    @contextmanager
    def started(metrics: list[str]) -> Iterator[None]:
        log = RunFolder.of(tmp_path, spec).log.read_text()
        told.extend([metrics, "epoch 1 validation" in log])
        yield
        told.append("ended")

    spec = bench.spec(limit=6, settings=("train.epochs=1",))
    monkeypatch.setattr("vlbench.runs.run.started_ahead", started)
    monkeypatch.setattr(callbacks, "SCORERS_SECONDS", seconds)
    do(spec, tmp_path)
    metrics = [card.metric for card in spec.tasks]
    assert told == [metrics, not is_early, "ended"]


@pytest.fixture
def run(bench: Bench, tmp_path: Path) -> Run:
    spec = bench.spec(settings=("train.epochs=1", "train.batch_size=60"))
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    return Run(spec, folder, 1, Progress(None))


def test_only_what_trains_changes_and_is_kept_and_loads_back(bench: Bench, run: Run) -> None:
    execute.train_and_test(run)
    kept = adapter(run.folder)
    assert set(kept) == set(trained_parameters(run.model))
    fresh = adapt(build_backbone("mini-bart", bench.backbone), run.spec.method, ["vqav2", "nlvr2"])
    assert frozen_checksum(fresh) == frozen_checksum(run.model)
    task = run.tasks[0]
    batch = run.data(task, task.test).batch(task.test, [("yes", 1.0)] * len(task.test))
    expected = run.model.eval()(batch)
    assert not torch.equal(fresh.eval()(batch), expected)
    load_adapter(fresh, run.folder.adapter)
    assert torch.equal(fresh(batch), expected)


@pytest.mark.parametrize("method", ["compacter", "hyperformer", "lora", "lst"])
def test_what_a_run_answers_is_what_its_weights_answer(
    bench: Bench, tmp_path: Path, method: str
) -> None:
    """Whatever was kept while it validated, epoch by epoch."""
    settings = ("train.epochs=6", "train.learning_rate=0.02", "train.batch_size=30")
    spec = bench.spec(method=method, settings=settings)
    folder = do(spec, tmp_path)
    again = Run(spec, RunFolder(tmp_path), 1, Progress(None))
    again.prepare()
    load_adapter(again.model.eval(), folder.adapter)
    for task in again.tasks:
        given = {row["id"]: row["prediction"] for row in predictions(folder)[task.card.name]}
        assert again.answers(task, task.test) == given


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
            self.bare.backbone.token_embedding[0, 0] += 1

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
    assert "examples: " in error or "example" in error
    assert error in folder.log.read_text()
    assert not folder.is_done
    assert not folder.adapter.exists()


def test_data_that_changed_since_the_plan_are_refused(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec()
    other = spec.model_copy(update={"data": {**spec.data, "nlvr2": "0" * 64}})
    folder = do(other, tmp_path, code=3)
    assert "The data of 'nlvr2'" in folder.status()["error"]


def test_a_damaged_checkpoint_is_told_and_gone_on_without(
    bench: Bench, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, whole = finished
    with monkeypatch.context() as patch:
        interrupt(patch, *MOMENTS["before testing"])
        folder = do(spec, tmp_path, code=130)
    newest, before = folder.checkpoints.files()
    newest.write_bytes(newest.read_bytes()[:999])
    do(spec, tmp_path)
    assert f"{newest}: damaged, 999 bytes" in folder.log.read_text()
    assert f"after step {int(before.name[5:14])} of" in folder.log.read_text()
    assert_equal_results(folder, whole)


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_seconds_between_checkpoints_that_are_none_are_refused(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", text)
    folder = do(bench.spec(limit=2), tmp_path, code=2)
    assert f"VLBENCH_CHECKPOINT_SECONDS={text}: should be" in folder.status()["error"]


def test_a_method_without_sight_gets_the_same_answers_on_other_pictures(
    bench: Bench, tmp_path: Path
) -> None:
    spec = bench.spec(settings=("train.epochs=1", "train.blind=true"), tasks="nlvr2")
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    run = Run(spec, folder, 1, Progress(None))
    execute.train_and_test(run)
    task = run.tasks[0]
    batch = run.data(task, task.test).batch(task.test, None)
    assert not batch.features.any()


def test_a_run_for_a_gpu_does_not_fall_back_to_the_cpu(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    folder = do(bench.spec(device="cuda"), tmp_path, code=3)
    assert "planned for a GPU" in folder.status()["error"]


@pytest.mark.parametrize("spoil", ["another version", "another shape", "no state"])
def test_a_checkpoint_that_does_not_fit_is_set_aside_and_the_run_begins_from_the_one_before(
    bench: Bench, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    spec, undisturbed = finished
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(execute, "test", lambda run, peak: 1 / 0)
    folder = do(spec, tmp_path, code=5)
    monkeypatch.undo()
    monkeypatch.setenv("VLBENCH_CACHE", str(bench.root.parent / "cache"))
    newest, before = folder.checkpoints.files()
    state = torch.load(newest, weights_only=True)
    if spoil == "another version":
        del state["schedule"]  # what comes before it has been taken over by then
        state["trained"] = {name: tensor + 1 for name, tensor in state["trained"].items()}
    elif spoil == "another shape":
        state["trained"] = {name: tensor[:1] for name, tensor in state["trained"].items()}
    else:
        state = [1]
    newest.unlink()
    file = folder.checkpoints.save(int(newest.name[5:14]), state)
    do(spec, tmp_path)
    log = folder.log.read_text()
    assert f"{file}: cannot be used: " in log
    assert f"going on from the checkpoint after step {int(before.name[5:14])} of" in log
    assert rows(folder) == rows(undisturbed)
    assert predictions(folder) == predictions(undisturbed)


@pytest.mark.parametrize("content", ["", "[1]", '{"answers": {}, "seconds": 1}'])
def test_kept_answers_that_cannot_be_used_are_given_again(
    bench: Bench, tmp_path: Path, content: str
) -> None:
    folder = RunFolder.of(tmp_path, bench.spec(limit=2))
    folder.answers.mkdir(parents=True)
    run = Run(bench.spec(limit=2), folder, 1, Progress(folder.log, is_shown=False))
    run.prepare()
    file = folder.answers / "vqav2.json"
    file.write_text(content)
    given, _ = execute._answered(run, run.tasks[0])
    assert set(given) == {example.id for example in run.tasks[0].test}
    assert f"{file}: cannot be used" in folder.log.read_text()


def test_a_run_says_which_of_its_metrics_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    rows: list[Any] = []
    scored = Scored({"cider": 0.0}, {"5": 0.0}, undefined={"cider": "needs two images"})
    monkeypatch.setattr(execute, "score", lambda *_: scored)
    run: Any = SimpleNamespace(
        progress=SimpleNamespace(say=said.append), folder=SimpleNamespace(predictions=tmp_path)
    )
    example = Example("5", "", ("p",), {"a dog": 1.0}, {"captions": ["a dog"]})
    task: Any = SimpleNamespace(card=load_task("coco"), train=[], test=[example])
    stub: Any = SimpleNamespace(add=lambda *values: rows.extend(values[-1]))
    execute._score(run, task, {"5": "a cat"}, 1.0, stub)
    assert said == ["coco.cider: needs two images"]
    assert [row.value for row in rows] == [0.0]  # stored as the official code has it
