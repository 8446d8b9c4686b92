"""One run from its spec to its result: prepare, adapt, train, evaluate, record."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file

from vlbench.backbones import backbone_row, build_backbone, build_tokenizer
from vlbench.backbones.tokens import first_tokens
from vlbench.checkpoints.weights import load_weights
from vlbench.data.batches import TaskData
from vlbench.data.example import Example
from vlbench.data.fingerprint import file_hash
from vlbench.data.prepared import PreparedTask, prepare
from vlbench.data.submissions import load_format
from vlbench.errors import DataError, RunFailed
from vlbench.files import write_atomically
from vlbench.metrics import load_metric, require_metric
from vlbench.running.folder import RunFolder
from vlbench.running.inputs import data_root, features_read, wanted_features
from vlbench.running.progress import Progress
from vlbench.running.provenance import code_version, device_name, peak_memory_bytes, versions
from vlbench.running.record import Rows, write_adapter, write_predictions
from vlbench.running.scoring import majority_scored, score, values
from vlbench.running.spec import RunSpec
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.techniques.freezing import frozen_checksum, load_trained_state
from vlbench.training.answers import answers
from vlbench.training.trainer import Step, Trainer


class Run:
    """Does one run in its folder; told to go on, it starts from the last epoch's checkpoint."""

    def __init__(self, spec: RunSpec, folder: RunFolder, attempt: int, progress: Progress) -> None:
        self.spec = spec
        self.folder = folder
        self.attempt = attempt
        self.progress = progress
        torch.set_num_threads(backbone_row(spec.backbone).threads or torch.get_num_threads())
        if spec.device != "cpu":
            torch.cuda.set_device(spec.device)  # accelerate takes the current one
        self.accelerator = Accelerator(
            cpu=spec.device == "cpu",
            mixed_precision="bf16" if spec.method.train.precision == "bf16" else "no",
        )
        self.tokenizer = build_tokenizer(spec.backbone, _path(spec.backbone_path))

    def execute(self) -> None:
        """Everything, in order."""
        for card in self.spec.tasks:
            require_metric(card.metric)  # before hours of training, not after
            load_metric(card.metric)
            if card.splits[self.spec.edition].submission:
                load_format(card.submission)
            first_tokens(self.tokenizer, card.choices)
        tasks = self._prepare()
        set_seed(self.spec.seed)
        spec, visual = self.spec, self.spec.tasks[0].visual
        read = features_read(spec.backbone, visual, spec.encoder, tasks)
        backbone = build_backbone(
            spec.backbone, _path(spec.backbone_path), visual=visual, features=read
        )
        self.positions = getattr(backbone.config, "max_position_embeddings", None)
        model = adapt(backbone, self.spec.method, [card.name for card in self.spec.tasks])
        self._start_from_init(model)
        self.trainer = Trainer(
            model,
            [self._data(task, task.train) for task in tasks],
            self.spec.method.train,
            self.spec.seed,
            self.accelerator,
        )
        self.model, self.tasks = model, tasks
        before = frozen_checksum(model)
        self._resume()
        if not self.trainer.epochs_done:
            self.trainer.start(self.progress.say)
            self._start_from_init(model)  # what a file holds counts more than an initialisation
        self.trainer.train(self)
        if frozen_checksum(model) != before:
            raise RunFailed("A tensor that should be frozen changed while training.")
        adapter_bytes = write_adapter(self.folder.adapter, model, self.spec)
        self._test(adapter_bytes)
        self.folder.checkpoint.unlink(missing_ok=True)

    def _start_from_init(self, model: AdaptedModel) -> None:
        spec = self.spec
        if spec.init_hash:
            load_weights(Path(spec.init), model, f"{spec.method.name} on {spec.backbone}")

    def _prepare(self) -> list[PreparedTask]:
        spec = self.spec
        if spec.init_hash and file_hash(Path(spec.init)) != spec.init_hash:
            raise DataError(
                f"{spec.init} changed since the run was planned: start the same command again."
            )
        root = data_root(spec.tasks, spec.edition, _path(spec.root))
        folders = tuple(map(Path, spec.features))
        visual = spec.tasks[0].visual
        wanted = wanted_features(spec.backbone, visual, spec.encoder, folders, spec.device)
        tasks = prepare(spec.tasks, spec.edition, root, spec.limit, wanted)
        for task in tasks:
            if task.fingerprint != spec.data[task.card.name]:
                raise DataError(
                    f"The data of '{task.card.name}' in {root} changed since the run was "
                    "planned: start the same command again."
                )
        return tasks

    def _data(self, task: PreparedTask, examples: Sequence[Example]) -> TaskData:
        train = self.spec.method.train
        return TaskData(task.card, examples, task.store, self.tokenizer, train, self.positions)

    def _resume(self) -> None:
        file = self.folder.checkpoint
        if file.is_file():
            state: dict[str, Any] = _load_checkpoint(file)
            self.trainer.load_state_dict(state, str(file))
            self.progress.say(f"going on after epoch {self.trainer.epochs_done}")
        kept = read_curve(self.folder.curve, self.trainer.epochs_done)
        write_atomically(self.folder.curve, "".join(json.dumps(line) + "\n" for line in kept))

    def on_step(self, step: Step) -> None:
        """Show the step; keep it in the training curve."""
        self.progress.step(step)
        if step.number % 10 == 0 or step.number == step.total:
            line = {"step": step.number, "epoch": step.epoch, "task": step.task}
            line |= {"loss": step.loss, "learning_rate": step.learning_rate}
            self.folder.append(self.folder.curve, line)
            self.folder.write_status(
                "running",
                self.attempt,
                step=step.number,
                total=step.total,
                loss=step.loss,
                examples_per_second=step.examples_per_second,
                seconds_left=step.seconds_left,
            )

    def on_epoch(self, epoch: int) -> None:
        """Validate, log it, and keep a checkpoint to go on from."""
        found = {}
        for task in self.tasks:
            data = self._data(task, task.val)
            given = answers(self.model, data, self.accelerator.device)
            scored = score(task.card, task.val, given, validation=True)
            found[f"{task.card.name}.{task.card.main_metric}"] = scored.metrics[
                task.card.main_metric
            ]
        shown = "  ".join(f"{name} {value:.2f}" for name, value in found.items())
        average = sum(found.values()) / len(found)
        self.progress.say(f"epoch {epoch} validation  {shown}  average {average:.2f}")
        self.folder.append(self.folder.curve, {"epoch": epoch, "validation": found})
        state = self.trainer.state_dict()
        write_atomically(self.folder.checkpoint, lambda path: torch.save(state, path))

    def _test(self, adapter_bytes: int) -> None:
        """Score the test splits with the last weights; the result is written last."""
        device = self.accelerator.device
        rows = Rows(
            self.spec,
            self.attempt,
            self.model,
            adapter_bytes=adapter_bytes,
            train_seconds=self.trainer.seconds,
            examples_per_second=self.trainer.examples / self.trainer.seconds,
            device=device_name(device),
            code_version=code_version(),
            versions=versions(),
        )
        for task in self.tasks:
            name = task.card.name
            self.progress.say(f"testing {name} on {len(task.test):,} examples")
            started = time.perf_counter()
            given = answers(self.model, self._data(task, task.test), device)
            scored = score(task.card, task.test, given)
            seconds = time.perf_counter() - started
            floor = majority_scored(task.card, task.train, task.test)
            write_predictions(self.folder.predictions / f"{name}.parquet", task.test, given, scored)
            found = values(task.card, task.test, scored, floor)
            rows.add(name, task.card.main_metric, "test", seconds, found)
            if task.submission:
                self._submit(task)
        rows.write(self.folder.result, peak_memory_bytes=peak_memory_bytes(device))

    def _submit(self, task: PreparedTask) -> None:
        """Answer what is not labelled in public, as a file for the dataset's own server."""
        name, count = task.card.name, len(task.submission)
        self.progress.say(f"answering {count:,} examples of {name} for its server")
        given = answers(self.model, self._data(task, task.submission), self.accelerator.device)
        made = load_format(task.card.submission)(task.submission, given)
        file = self.folder.submissions / f"{name}_test_predictions{made.suffix}"
        write_atomically(file, made.text)
        if made.unreadable:
            self.progress.say(f"{name}: {made.unreadable:,} of {count:,} answers were no choice")
        self.progress.say(f"{name}: {file}")


def load_adapter(model: AdaptedModel, file: Path) -> None:
    """Put saved tensors back into a model adapted by the same card."""
    load_trained_state(model, load_file(file), str(file))


def read_curve(file: Path, epochs: int) -> list[dict[str, Any]]:
    """The training curve's lines of the first `epochs`; what came after is done again."""
    if not epochs or not file.is_file():
        return []
    lines = []
    for text in file.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a line torn by a full disk or a power cut
            lines.append(json.loads(text))
    return [line for line in lines if line["epoch"] <= epochs]


def _load_checkpoint(file: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever half a pickle makes of it
        raise DataError(f"{file}: damaged. Remove it to train from the start.") from error
    return state


def _path(text: str) -> Path | None:
    return Path(text) if text else None
