"""The training loop: one task per batch, tasks mixed in the authors' order, last weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator

from vlbench.cards.train import TrainSettings
from vlbench.data.batches import Batch, TaskData
from vlbench.errors import RunFailed
from vlbench.techniques.adapt import AdaptedModel
from vlbench.techniques.freezing import load_trained_state, trained_state
from vlbench.training.loss import loss
from vlbench.training.optimiser import AdamW, linear_schedule, parameter_groups
from vlbench.training.order import task_order


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
        optimiser = AdamW(parameter_groups(model, settings.weight_decay), lr=settings.learning_rate)
        schedule = linear_schedule(optimiser, self.total_steps, settings.warmup_ratio)
        self.model, self.optimiser, self.schedule = accelerator.prepare(model, optimiser, schedule)
        self.epochs_done = 0
        self.seconds = 0.0
        self.examples = 0

    def train(self, watcher: Watcher) -> None:
        """Train the epochs that are still to do."""
        for epoch in range(self.epochs_done, self.settings.epochs):
            self.model.train()
            started = time.perf_counter()  # fetching the batch counts, watching does not
            for number, batch in enumerate(self._epoch(epoch), epoch * self.steps_per_epoch + 1):
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

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch: each task in its own random order, tasks in the authors'."""
        streams = {
            name: task.epoch(np.random.default_rng([self.seed, epoch, position]))
            for position, (name, task) in enumerate(self.tasks.items())
        }
        for name in task_order({name: task.batches for name, task in self.tasks.items()}, epoch):
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
        self.accelerator.backward(value)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        return number_value

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on, at the end of an epoch."""
        return {
            "trained": trained_state(self.bare),
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
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["torch_random"])
        if len(state["cuda_random"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.epochs_done = state["epochs_done"]
        self.seconds = state["seconds"]
        self.examples = state["examples"]
