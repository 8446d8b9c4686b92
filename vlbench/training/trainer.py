"""The training loop: one task per batch, tasks mixed in the authors' order, last weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator

from vlbench.cards.train import TrainSettings
from vlbench.data.batches import Batch, TaskData
from vlbench.errors import RunFailed
from vlbench.techniques.adapt import AdaptedModel
from vlbench.techniques.base import BatchLoss
from vlbench.techniques.freezing import load_trained_state, trained_state
from vlbench.training.loss import loss
from vlbench.training.optimiser import OPTIMISERS, linear_schedule, parameter_groups
from vlbench.training.order import task_order

TOLD_EVERY = 256
"""Examples between two lines about an initialisation that reads them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step, as progress and the training curve show it."""

    number: int
    total: int
    epoch: int
    task: str
    loss: float
    learning_rate: float
    examples_per_second: float
    seconds_left: float
    """Of training steps, at the pace so far."""


class Watcher(Protocol):
    """Is told what the trainer does."""

    def on_step(self, step: Step) -> None:
        """After every optimiser step."""

    def on_epoch(self, epoch: int) -> None:
        """After every epoch, counted from 1; evaluation and checkpoints happen here."""


class Trainer:
    """Trains an adapted model on several tasks; everything random follows from the seed."""

    def __init__(
        self,
        model: AdaptedModel,
        tasks: Sequence[TaskData],
        settings: TrainSettings,
        seed: int,
        accelerator: Accelerator,
    ) -> None:
        self.tasks = {task.card.name: task for task in tasks}
        self.settings = settings
        self.seed = seed
        self.accelerator = accelerator
        self.steps_per_epoch = sum(task.batches for task in tasks)
        self.total_steps = self.steps_per_epoch * settings.epochs
        self.bare = model
        groups = parameter_groups(model, settings.weight_decay, model.undecayed())
        optimiser = OPTIMISERS[settings.optimiser](groups, lr=settings.learning_rate)
        schedule = linear_schedule(optimiser, self.total_steps, settings.warmup_ratio)
        self.model, self.optimiser, self.schedule = accelerator.prepare(model, optimiser, schedule)
        self.epochs_done = 0
        self.seconds = 0.0
        self.examples = 0

    def start(self, say: Callable[[str], None]) -> None:
        """Let the technique initialise itself from training examples; before the first step."""
        self.bare.technique.start(self.bare.backbone, self._one_by_one(say))

    def _one_by_one(self, say: Callable[[str], None]) -> Iterator[BatchLoss]:
        """Every training example once, in the authors' order of tasks, each with its loss."""
        tasks = {name: copy(task) for name, task in self.tasks.items()}
        for task in tasks.values():
            task.batch_size = 1
        number = 0
        for number, batch in enumerate(self._epoch(0, tasks), 1):
            if number == 1 or number % TOLD_EVERY == 0:
                say(f"initialising from training examples, one by one: {number:,}")
            here = batch.to(self.accelerator.device)
            kind = tasks[batch.task].card.loss
            yield here, partial(loss, target_ids=here.target_ids, scores=here.scores, kind=kind)
        say(f"initialising from all {number:,} training examples: there are no more")

    def train(self, watcher: Watcher) -> None:
        """Train the epochs that are still to do."""
        for epoch in range(self.epochs_done, self.settings.epochs):
            self.model.train()
            started = time.perf_counter()  # fetching the batch counts, watching does not
            batches = self._epoch(epoch, self.tasks)
            for number, batch in enumerate(batches, epoch * self.steps_per_epoch + 1):
                rate = self.schedule.get_last_lr()[0]
                value = self._step(batch, number)
                self.seconds += time.perf_counter() - started
                self.examples += len(batch.ids)
                watcher.on_step(
                    Step(
                        number=number,
                        total=self.total_steps,
                        epoch=epoch + 1,
                        task=batch.task,
                        loss=value,
                        learning_rate=rate,
                        examples_per_second=self.examples / self.seconds,
                        seconds_left=self.seconds * (self.total_steps - number) / number,
                    )
                )
                started = time.perf_counter()
            self.epochs_done = epoch + 1
            self.model.eval()
            watcher.on_epoch(self.epochs_done)

    def _epoch(self, epoch: int, tasks: Mapping[str, TaskData]) -> Iterator[Batch]:
        """The batches of an epoch: each task in its own random order, tasks in the authors'."""
        streams = {
            name: task.epoch(np.random.default_rng([self.seed, epoch, position]))
            for position, (name, task) in enumerate(tasks.items())
        }
        for name in task_order({name: task.batches for name, task in tasks.items()}, epoch):
            yield next(streams[name])

    def _step(self, batch: Batch, number: int) -> float:
        batch = batch.to(self.accelerator.device)
        with self.accelerator.autocast():
            logits = self.model(batch)
        kind = self.tasks[batch.task].card.loss
        value = loss(logits, batch.target_ids, batch.scores, kind)
        number_value = value.item()
        if not math.isfinite(number_value):
            raise RunFailed(
                f"Loss is {number_value} at step {number} (task {batch.task}, first example "
                f"{batch.ids[0]}). A lower rate may help: --set train.learning_rate=..."
            )
        penalty = self.bare.technique.penalty()
        self.accelerator.backward(value if penalty is None else value + penalty)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        self.bare.technique.stepped(number, self.total_steps)
        self.optimiser.zero_grad(set_to_none=True)
        return number_value

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on, at the end of an epoch."""
        return {
            "trained": trained_state(self.bare),
            "technique": self.bare.technique.training_state(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all(),
            "epochs_done": self.epochs_done,
            "seconds": self.seconds,
            "examples": self.examples,
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Go on where `state_dict` was taken; `source` names it in messages."""
        load_trained_state(self.bare, state["trained"], source)
        self.bare.technique.load_training_state(state.get("technique", {}))
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["torch_random"])
        if len(state["cuda_random"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.epochs_done = state["epochs_done"]
        self.seconds = state["seconds"]
        self.examples = state["examples"]
