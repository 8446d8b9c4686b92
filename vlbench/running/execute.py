"""One run from its spec to its result: prepare, adapt, train, test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file

from vlbench.backbones import backbone_row, build_backbone, build_tokenizer
from vlbench.backbones.weights import first_tokens
from vlbench.checkpoints.weights import load_weights
from vlbench.data.batches import TaskData
from vlbench.data.example import Example
from vlbench.data.fingerprint import file_hash
from vlbench.data.prepare import PreparedTask, prepare
from vlbench.data.submissions import load_format
from vlbench.errors import DataError, MissingError, RunFailed
from vlbench.garbage import collect_as_usual
from vlbench.metrics import load_metric, require_metric, started_ahead
from vlbench.running.folder import RunFolder
from vlbench.running.inputs import data_root, features_read, wanted_features
from vlbench.running.keeper import Keeper
from vlbench.running.progress import Progress
from vlbench.running.ranks import joined
from vlbench.running.record import write_adapter
from vlbench.running.spec import RunSpec
from vlbench.running.stopping import Stop
from vlbench.running.testing import test
from vlbench.techniques.adapt import (
    AdaptedModel,
    adapt,
    check_reached,
    frozen_checksum,
    load_trained_state,
)
from vlbench.tensors import listed, not_finite
from vlbench.times import now
from vlbench.training.distributed import Ranks
from vlbench.training.predict import answers
from vlbench.training.train import MicroBatches, Trainer


class Run:
    """Does one run in its folder; told to go on, it starts from the last checkpoint."""

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
        self._shown = {"where": where, "began_at": now()}
        if spec.device != "cpu" and not torch.cuda.is_available():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
            raise MissingError(
                f"This run was planned for a GPU, and torch {torch.__version__} sees none here "
                f"(CUDA_VISIBLE_DEVICES: {visible}). Start the command with --devices cpu."
            )
        torch.set_num_threads(backbone_row(spec.backbone).threads or torch.get_num_threads())
        self.accelerator = Accelerator(
            cpu=spec.device == "cpu",
            mixed_precision="bf16" if spec.method.train.precision == "bf16" else "no",
        )
        self.ranks = Ranks.of(self.accelerator)
        self.tokenizer = build_tokenizer(spec.backbone, _path(spec.backbone_path))
        self._scorers = ExitStack()
        self._has_scorers = False

    def execute(self) -> None:
        """Everything, in order; each stage goes on from what an earlier attempt left."""
        self.prepare()
        with self._scorers:
            self._train_and_test()

    def _train_and_test(self) -> None:
        before = frozen_checksum(self.model)
        keeper = Keeper(self)
        if not keeper.resume():
            self.trainer.start(self.progress.say)
            self._start_from_init()  # what a file holds counts more than an initialisation
        with self.stop.deferred():
            self.trainer.train(keeper)
        if frozen_checksum(self.model) != before:
            raise RunFailed("A tensor that should be frozen changed while training.")
        self.trainer.check_trained()
        if self.ranks.is_main:
            write_adapter(self.folder.adapter, self.model, self.spec)
        test(self, keeper.peak_memory_bytes)
        if self.ranks.is_main:
            self.folder.checkpoints.remove()

    def prepare(self) -> None:
        """Read the data, build the model and its trainer; nothing is trained yet."""
        self.tell("preparing")
        spec, visual = self.spec, self.spec.tasks[0].visual
        for card in spec.tasks:
            require_metric(card.metric)  # before hours of training, not after
            load_metric(card.metric)
            if card.splits[spec.edition].submission:
                load_format(card.submission)
            first_tokens(self.tokenizer, card.choices)
        with self.ranks.main_first():  # it fills the cache
            self.tasks = self._prepare_tasks()
        set_seed(spec.seed)
        read = features_read(spec.backbone, visual, spec.encoder, self.tasks)
        backbone = build_backbone(
            spec.backbone, _path(spec.backbone_path), visual=visual, features=read
        )
        self.positions = getattr(backbone.config, "max_position_embeddings", None)
        self.model = adapt(backbone, spec.method, [card.name for card in spec.tasks])
        if spec.checkpoint_activations:
            self.model.checkpoint_activations()
        check_reached(self.model, [card.name for card in spec.tasks], spec.method.shown)
        self._start_from_init()
        if names := not_finite(dict(self.model.named_parameters())):
            source = spec.init or spec.backbone_path or spec.backbone
            raise DataError(f"{source}: {listed(names)} holds NaN or infinity before any step.")
        train = [self.data(task, task.train) for task in self.tasks]
        parts = MicroBatches(spec.max_batch, self.progress.say)
        self.at_once = MicroBatches("auto" if spec.max_batch else None, self.progress.say)
        self.trainer = Trainer(
            self.model, train, spec.method.train, spec.seed, self.accelerator, self.ranks, parts
        )
        collect_as_usual()

    def data(self, task: PreparedTask, examples: Sequence[Example]) -> TaskData:
        """Batches of these examples of a task."""
        train = self.spec.method.train
        return TaskData(task.card, examples, task.store, self.tokenizer, train, self.positions)

    def answers(self, task: PreparedTask, examples: Sequence[Example]) -> dict[str, str]:
        """Example id -> the model's answer; the processes of the run share the work."""
        data = self.data(task, examples)
        return answers(self.model, data, self.accelerator.device, self.ranks, self.at_once)

    def tell(self, phase: str, **details: object) -> None:
        """Say in the folder how far the run is."""
        if self.ranks.is_main:
            self.folder.tell_status(self.attempt, **self._shown, phase=phase, **details)

    def start_scorers(self) -> None:
        """Start what scores the test, once; it gets ready beside other work."""
        if self.ranks.is_main and not self._has_scorers:
            self._has_scorers = True
            metrics = [card.metric for card in self.spec.tasks]
            self._scorers.enter_context(started_ahead(metrics))

    def _start_from_init(self) -> None:
        spec = self.spec
        if spec.init_hash:
            load_weights(Path(spec.init), self.model, f"{spec.method.name} on {spec.backbone}")

    def _prepare_tasks(self) -> list[PreparedTask]:
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


def execute(
    spec: RunSpec,
    folder: RunFolder,
    attempt: int,
    progress: Progress,
    stop: Stop,
    where: str = "",
    processes: int = 1,
) -> None:
    """Do the run, in so many processes."""
    with joined(folder.path, processes, spec.device):
        Run(spec, folder, attempt, progress, stop, where).execute()


def load_adapter(model: AdaptedModel, file: Path) -> None:
    """Put saved tensors back into a model adapted by the same card."""
    load_trained_state(model, load_file(file), str(file))


def _path(text: str) -> Path | None:
    return Path(text) if text else None
