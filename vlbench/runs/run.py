"""What one run works with: its data, model and trainer, made ready from its spec."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from vlbench.backbones import backbone_row, build_backbone, build_tokenizer
from vlbench.backbones.weights import first_tokens
from vlbench.checkpoints.weights import load_weights
from vlbench.data.batches import TaskData
from vlbench.data.example import Example
from vlbench.data.prepare import PreparedTask
from vlbench.data.submissions import load_format
from vlbench.data.table import file_hash
from vlbench.errors import DataError, MissingError
from vlbench.metrics import load_metric, require_metric, started_ahead
from vlbench.process import collect_as_usual
from vlbench.runs.folder import RunFolder
from vlbench.runs.plan import Inputs, read_inputs
from vlbench.runs.spec import RunSpec
from vlbench.runs.stopping import Stop
from vlbench.runs.watch import Progress
from vlbench.techniques.adapt import adapt, check_reached
from vlbench.tensors import listed, not_finite
from vlbench.text import now
from vlbench.training.distributed import Ranks
from vlbench.training.predict import answers
from vlbench.training.train import MicroBatches, Trainer


class Run:
    """A run in one of its processes: spec, folder, tasks, model, trainer."""

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
        self.scorers = ExitStack()
        """Scorers of the test that were started ahead; whoever does the run closes them."""
        self._has_scorers = False

    def prepare(self) -> None:
        """Read the data, build the model and its trainer; nothing is trained yet."""
        self.tell("preparing")
        spec, names = self.spec, [card.name for card in self.spec.tasks]
        for card in spec.tasks:
            require_metric(card.metric)  # before hours of training, not after
            load_metric(card.metric)
            if card.splits[spec.edition].submission:
                load_format(card.submission)
            first_tokens(self.tokenizer, card.choices)
        with self.ranks.main_first():  # it fills the cache
            inputs = self._read_inputs()
        self.tasks = inputs.tasks
        set_seed(spec.seed)
        backbone = build_backbone(
            spec.backbone,
            _path(spec.backbone_path),
            visual=spec.tasks[0].visual,
            features=inputs.features,
        )
        self.positions = getattr(backbone.config, "max_position_embeddings", None)
        self.model = adapt(backbone, spec.method, names)
        if spec.checkpoint_activations:
            self.model.checkpoint_activations()
        check_reached(self.model, names, spec.method.shown)
        self.load_init()
        if bad := not_finite(dict(self.model.named_parameters())):
            source = spec.init or spec.backbone_path or spec.backbone
            raise DataError(f"{source}: {listed(bad)} holds NaN or infinity before any step.")
        train = [self.data(task, task.train) for task in self.tasks]
        parts = MicroBatches(spec.max_batch, self.progress.say)
        self.at_once = MicroBatches("auto" if spec.max_batch else None, self.progress.say)
        self.trainer = Trainer(
            self.model, train, spec.method.train, spec.seed, self.accelerator, self.ranks, parts
        )
        collect_as_usual()

    def load_init(self) -> None:
        """Load the weights that the run starts from, where its spec names any."""
        spec = self.spec
        if spec.init_hash:
            load_weights(Path(spec.init), self.model, f"{spec.method.name} on {spec.backbone}")

    def data(self, task: PreparedTask, examples: Sequence[Example]) -> TaskData:
        """Batches of these examples of a task."""
        train = self.spec.method.train
        return TaskData(task.card, examples, task.store, self.tokenizer, train, self.positions)

    def answers(self, task: PreparedTask, examples: Sequence[Example]) -> dict[str, str]:
        """Example id -> the model's answer; the processes of the run share the work."""
        data = self.data(task, examples)
        return answers(self.model, data, self.accelerator.device, self.ranks, self.at_once)

    def tell(self, phase: str, **details: object) -> None:
        """Write the run's progress into its folder."""
        if self.ranks.is_main:
            self.folder.tell_status(self.attempt, **self._status, phase=phase, **details)

    def start_scorers(self) -> None:
        """Start the scorers of the test, once; they get ready beside other work."""
        if self.ranks.is_main and not self._has_scorers:
            self._has_scorers = True
            metrics = [card.metric for card in self.spec.tasks]
            self.scorers.enter_context(started_ahead(metrics))

    def _read_inputs(self) -> Inputs:
        """Read the spec's data; DataError where they changed since the run was planned."""
        spec = self.spec
        if spec.init_hash and file_hash(Path(spec.init)) != spec.init_hash:
            raise DataError(
                f"{spec.init} changed since the run was planned: start the same command again."
            )
        inputs = read_inputs(
            spec.tasks,
            spec.edition,
            _path(spec.root),
            spec.backbone,
            spec.encoder,
            tuple(map(Path, spec.features)),
            spec.limit,
            spec.device,
        )
        for task in inputs.tasks:
            if task.fingerprint != spec.data[task.card.name]:
                raise DataError(
                    f"The data of '{task.card.name}' in {inputs.root} changed since the run was "
                    "planned: start the same command again."
                )
        return inputs


def _path(text: str) -> Path | None:
    return Path(text) if text else None
