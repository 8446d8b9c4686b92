"""One run from its spec to its result: train, then score the test splits with the last weights.

A trial of a search is scored on the validation splits instead.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from vlbench.backbones import build_tokenizer, find_backbone
from vlbench.cards.schema import TaskCard, TrainSettings
from vlbench.checkpoints.weights import load_weights
from vlbench.data.batches import FeatureData, TaskData
from vlbench.data.chat import ChatData
from vlbench.data.example import Example
from vlbench.data.hashes import file_hash
from vlbench.data.pictures import Pictures
from vlbench.data.prepare import PreparedTask
from vlbench.data.stores.base import Store
from vlbench.data.submissions import load_format
from vlbench.errors import DataError, MissingError, RunFailed
from vlbench.files import read_object, write_atomically
from vlbench.metrics import load_metric, require_metric, started_ahead
from vlbench.runs.callbacks import Callbacks
from vlbench.runs.folder import RunFolder
from vlbench.runs.plan import Inputs, adapted, read_inputs
from vlbench.runs.result import (
    Value,
    majority_scored,
    peak_memory_bytes,
    provenance,
    score,
    values,
    write_adapter,
    write_predictions,
    write_result,
)
from vlbench.runs.spec import RunSpec
from vlbench.runs.stopping import Stop
from vlbench.runs.watch import Progress
from vlbench.techniques.adapt import AdaptedModel, check_reached, frozen_checksum
from vlbench.tensors import listed, not_finite
from vlbench.text import now
from vlbench.training.distributed import Ranks
from vlbench.training.predict import answers
from vlbench.training.train import MicroBatches, Trainer


class Run:
    """A run in one of its processes: spec, folder, tasks, model, trainer."""

    tasks: list[PreparedTask]
    model: AdaptedModel
    trainer: Trainer

    def __init__(
        self,
        spec: RunSpec,
        folder: RunFolder,
        attempt: int,
        progress: Progress,
        stop: Stop | None = None,
        where: str = "",
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.attempt = attempt
        self.progress = progress
        self.stop = stop or Stop()
        self._status = {"where": where, "began_at": now()}
        self.scorers = ExitStack()
        self._has_scorers = False
        if spec.device != "cpu" and not torch.cuda.is_available():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
            raise MissingError(
                f"This run was planned for a GPU, and torch {torch.__version__} sees none here "
                f"(CUDA_VISIBLE_DEVICES: {visible}). Start the command with --devices cpu."
            )
        set_threads(spec)
        self.accelerator = Accelerator(
            cpu=spec.device == "cpu",
            mixed_precision="bf16" if spec.method.train.precision == "bf16" else "no",
        )
        self.ranks = Ranks.of(self.accelerator)
        path = Path(spec.backbone_path) if spec.backbone_path else None
        self.tokenizer = build_tokenizer(spec.backbone_reference, path)

    def prepare(self) -> None:
        """Read the data, build the model and its trainer; nothing is trained yet."""
        self.write_progress("preparing")
        spec = self.spec
        for card in spec.tasks:
            require_metric(card.metric)  # before hours of training, not after
            load_metric(card.metric)
            if card.splits[spec.edition].submission:
                load_format(card.submission)
        with self.ranks.main_first():  # it fills the cache
            inputs = self._read_inputs()
        self.tasks = inputs.tasks
        set_seed(spec.seed)
        self.model = adapted(spec, inputs.features)
        check_reached(self.model, spec.task_names, spec.method.shown)
        self.load_init()
        if bad := not_finite(dict(self.model.named_parameters())):
            source = spec.init or spec.backbone_path or spec.backbone_reference
            raise DataError(f"{source}: {listed(bad)} holds NaN or infinity before any step.")
        train = [self.data(task, task.train) for task in self.tasks]
        for data in train:
            data.first_tokens()  # choices that begin alike are refused
        parts = MicroBatches(spec.max_batch, self.progress.say)
        self._at_once = MicroBatches("auto" if spec.max_batch else None, self.progress.say)
        self.trainer = Trainer(
            self.model, train, spec.method.train, spec.seed, self.accelerator, self.ranks, parts
        )

    def _read_inputs(self) -> Inputs:
        spec, again = self.spec, "changed since the run was planned: start the same command again."
        if spec.init_hash and file_hash(Path(spec.init)) != spec.init_hash:
            raise DataError(f"{spec.init} {again}")
        inputs = read_inputs(spec)
        for name, fingerprint in inputs.fingerprints.items():
            if fingerprint != spec.data[name]:
                raise DataError(f"The data of '{name}' in {inputs.root} {again}")
        return inputs

    def load_init(self) -> None:
        """Load the weights that the run starts from, where its spec names any."""
        spec = self.spec
        if spec.init_hash:
            load_weights(Path(spec.init), self.model, f"{spec.method.name} on {spec.backbone}")

    def data(self, task: PreparedTask, examples: Sequence[Example]) -> TaskData:
        """Batches of these examples of a task."""
        return task_data(
            self.model, self.tokenizer, task.card, examples, task.store, self.spec.method.train
        )

    def answers(self, task: PreparedTask, examples: Sequence[Example]) -> dict[str, str]:
        """Example id -> the model's answer; the processes of the run share the work."""
        data = self.data(task, examples)
        return answers(self.model, data, self.accelerator.device, self.ranks, self._at_once)

    def start_scorers(self) -> None:
        """Let the programs that the metrics need read their tables while others work."""
        if self.ranks.is_main and not self._has_scorers:
            self._has_scorers = True
            metrics = [card.metric for card in self.spec.tasks]
            self.scorers.enter_context(started_ahead(metrics))

    def write_progress(self, phase: str, **details: object) -> None:
        """Write how far the run is into its folder."""
        if self.ranks.is_main:
            self.folder.write_progress(self.attempt, **self._status, phase=phase, **details)


def set_threads(spec: RunSpec) -> None:
    """Compute with as many CPU threads as the run's backbone asks for."""
    threads = find_backbone(spec.backbone_reference).threads
    torch.set_num_threads(threads or torch.get_num_threads())


def task_data(
    model: AdaptedModel,
    tokenizer: Any,
    card: TaskCard,
    examples: Sequence[Example],
    store: Store | Pictures,
    settings: TrainSettings,
) -> TaskData:
    """Batches of a task's examples, whose pictures or features are in `store`, for a model."""
    backbone: Any = model.backbone
    same = card, examples, tokenizer, settings
    if isinstance(store, Pictures):
        return ChatData(*same, store, backbone.conversation)
    return FeatureData(*same, store, positions=backbone.positions)


def train_and_test(run: Run) -> None:
    """Do the run in this process; each stage goes on from what an earlier attempt left."""
    with run.scorers:
        _train_and_test(run)


def _train_and_test(run: Run) -> None:
    run.prepare()
    before = frozen_checksum(run.model)
    callbacks = Callbacks(run)
    if not callbacks.resume():
        run.trainer.start(run.progress.say)
        run.load_init()  # what a file holds counts more than an initialisation
    with run.stop.deferred():
        run.trainer.train(callbacks)
    if frozen_checksum(run.model) != before:
        raise RunFailed("A tensor that should be frozen changed while training.")
    if run.ranks.is_main:
        write_adapter(run.folder.adapter, run.model, run.spec)
    run.start_scorers()
    test(run, callbacks.peak_memory_bytes)
    if run.ranks.is_main:
        run.folder.checkpoints.remove()


def test(run: Run, peak_bytes: int) -> None:
    """Answer and score the split of every task; the result is written last."""
    trainer, device, parts = run.trainer, run.accelerator.device, []
    for task in run.tasks:
        given, seconds = _answered(run, task)
        if run.ranks.is_main:
            started = time.perf_counter()
            scores = _score(run, task, given)
            parts.append((task.card, seconds + time.perf_counter() - started, scores))
        if task.submission and not run.spec.is_trial:
            _submit(run, task)
    if run.ranks.is_main:
        shared = provenance(run.spec, device, run.ranks.count) | {
            "attempt": run.attempt,
            "adapter_bytes": run.folder.adapter.stat().st_size,
            "train_seconds": trainer.seconds,
            "examples_per_second": trainer.examples / trainer.seconds if trainer.seconds else None,
            "peak_memory_bytes": max(peak_bytes, peak_memory_bytes(device)),
        }
        write_result(run.folder.result, run.spec, run.model, parts, shared)


def _answered(run: Run, task: PreparedTask) -> tuple[dict[str, str], float]:
    """Example id -> answer, and the seconds that took; answers of an earlier attempt are used."""
    name, steps = task.card.name, run.trainer.total_steps
    file = run.folder.answers / f"{name}.json"
    examples = task.of(run.spec.split)
    run.progress.say(f"testing {name} on {len(examples):,} examples")
    run.write_progress("testing", step=steps, total=steps)
    kept: tuple[dict[str, str], float] | None = None
    if run.ranks.is_main and file.is_file():
        try:
            table = read_object(file)
            kept = table["answers"], table["seconds"]
        except (DataError, KeyError) as error:
            run.progress.say(f"{file}: cannot be used, answering again: {error}")
    kept = run.ranks.from_main(kept)
    if kept:
        run.progress.say(f"{name}: answered in an earlier attempt")
        return kept
    started = time.perf_counter()
    given = run.answers(task, examples)
    seconds = time.perf_counter() - started
    if run.ranks.is_main:
        table = {"answers": given, "seconds": seconds}
        write_atomically(file, json.dumps(table, ensure_ascii=False))
    return given, seconds


def _score(run: Run, task: PreparedTask, given: dict[str, str]) -> list[Value]:
    card, examples = task.card, list(task.of(run.spec.split))  # a table decodes them each time
    scored = score(card, examples, given)
    for name in scored.undefined.keys() & scored.metrics.keys():
        run.progress.say(f"{card.name}.{name}: {scored.undefined[name]}")
    write_predictions(run.folder.predictions / f"{card.name}.parquet", examples, given, scored)
    return values(card, examples, scored, majority_scored(card, task.train, examples))


def _submit(run: Run, task: PreparedTask) -> None:
    name, count = task.card.name, len(task.submission)
    run.progress.say(f"answering {count:,} examples of {name} for its server")
    given = run.answers(task, task.submission)
    if not run.ranks.is_main:
        return
    submission = load_format(task.card.submission)(task.submission, given)
    file = run.folder.submissions / f"{name}_test_predictions{submission.suffix}"
    write_atomically(file, submission.text)
    if submission.unreadable:
        run.progress.say(f"{name}: {submission.unreadable:,} of {count:,} answers were no choice")
    run.progress.say(f"{name}: {file}")
