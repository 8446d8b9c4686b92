"""The training loop: one task per batch, tasks mixed in the authors' order, last weights kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vlbench.cards.train import TrainSettings
from vlbench.data.batches import WHOLE, Batch, TaskData, prefetched_for
from vlbench.errors import RunFailed
from vlbench.techniques.adapt import AdaptedModel
from vlbench.techniques.attached import probe
from vlbench.techniques.base import BatchLoss
from vlbench.techniques.freezing import load_trained_state, trained_parameters, trained_state
from vlbench.tensors import listed, not_finite
from vlbench.training.gradients import LOWER_RATE, Gradients
from vlbench.training.loss import loss
from vlbench.training.optimiser import OPTIMISERS, linear_schedule, parameter_groups
from vlbench.training.order import task_order
from vlbench.training.parts import Parts
from vlbench.training.precision import frozen_in_bf16
from vlbench.training.random_streams import random_state, seed_step, set_random_state
from vlbench.training.ranks import Ranks

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
    """Is told what the trainer does; at either moment it may take the trainer's state."""

    def on_step(self, step: Step) -> None:
        """After every optimiser step."""

    def on_epoch(self, epoch: int) -> None:
        """After every epoch, counted from 1; again when training goes on from there."""


class Trainer:
    """Trains an adapted model on several tasks; everything random follows from the seed."""

    def __init__(
        self,
        model: AdaptedModel,
        tasks: Sequence[TaskData],
        settings: TrainSettings,
        seed: int,
        accelerator: Accelerator,
        ranks: Ranks | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.tasks = {task.card.name: task for task in tasks}
        self.settings = settings
        self.seed = seed
        self.accelerator = accelerator
        self.ranks = ranks or Ranks.of(accelerator)
        self.steps_per_epoch = sum(task.batches for task in tasks)
        self.total_steps = self.steps_per_epoch * settings.epochs
        self.bare = model
        groups = parameter_groups(model, settings.weight_decay, model.undecayed())
        self.trained = [p for group in groups for p in group["params"]]
        self.optimiser = OPTIMISERS[settings.optimiser](groups, lr=settings.learning_rate)
        self.schedule = linear_schedule(self.optimiser, self.total_steps, settings.warmup_ratio)
        # Only the model is prepared, and as if for evaluation: placed and cast, but not wrapped in
        # a DDP (ranks.py says why); a prepared schedule would go on a step for each rank.
        self.model = accelerator.prepare_model(model, evaluation_mode=True)
        losses = {name: task.card.loss for name, task in self.tasks.items()}
        self.gradients = Gradients(model, losses, accelerator, self.ranks, parts or Parts())
        self.steps_done = 0
        self.seconds = 0.0
        self.examples = 0

    @property
    def epochs_done(self) -> int:
        """Epochs that are trained to their end."""
        return self.steps_done // self.steps_per_epoch

    def start(self, say: Callable[[str], None]) -> None:
        """Let the technique initialise itself from training examples; before the first step."""
        self.bare.technique.start(self.bare.backbone, self._one_by_one(say))
        self.ranks.copy_from_main(self.bare)  # sums on GPUs may differ in their last bits

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
        """Train the steps that are still to do."""
        if self.steps_done and self.steps_done % self.steps_per_epoch == 0:
            self._end_epoch(watcher)
        else:
            self.ranks.check_equal(self.bare, f"after step {self.steps_done}")
        while self.steps_done < self.total_steps:
            with self.cast():
                self._train_epoch(watcher)
            self._end_epoch(watcher)

    def check_trained(self) -> None:
        """RunFailed unless all that trains has had a gradient and every task's logits are finite.

        What never had one has no state in the optimiser, in that of a resumed run neither.
        """
        trained = trained_parameters(self.bare).items()
        if never := [name for name, p in trained if p not in self.optimiser.state]:
            raise RunFailed(
                f"A trained tensor never had a gradient: {listed(never)}. No loss depends on it, "
                "so it is as it began: leave it out of what trains, or attach it where the "
                "forward pass goes through."
            )
        for task in self.tasks:
            with torch.no_grad():
                logits = probe(self.bare, self.bare.backbone, task)
            if not logits.isfinite().all():
                raise self._not_finite(f"what the model says on {task}")

    def _not_finite(self, what: str) -> RunFailed:
        return RunFailed(f"Not finite after step {self.steps_done}: {what}. {LOWER_RATE}")

    def cast(self) -> AbstractContextManager[None]:
        """The frozen weights as training in the card's precision has them; evaluation in fp32."""
        return frozen_in_bf16(self.bare) if self.settings.precision == "bf16" else nullcontext()

    def _train_epoch(self, watcher: Watcher) -> None:
        """The steps of an epoch that are still to do."""
        self.model.train()
        epoch, skip = divmod(self.steps_done, self.steps_per_epoch)
        started = time.perf_counter()  # fetching the batch counts, watching does not
        made = self._epoch(epoch, self.tasks, skip, self.ranks.share)
        for batch in prefetched_for(self.accelerator.device, made):
            number = self.steps_done + 1
            rate = float(self.schedule.get_last_lr()[0])
            value, examples = self.step(batch, number)
            self.seconds += time.perf_counter() - started
            self.examples += examples
            self.steps_done = number
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

    def _end_epoch(self, watcher: Watcher) -> None:
        """Let the watcher evaluate; what it draws at random does not change the training."""
        self.ranks.check_equal(self.bare, f"after epoch {self.epochs_done}")
        if names := not_finite(trained_state(self.bare)):
            raise self._not_finite(listed(names))
        self.model.eval()
        device = self.accelerator.device
        state = random_state(device)
        watcher.on_epoch(self.epochs_done)
        set_random_state(state, device)

    def _epoch(
        self, epoch: int, tasks: Mapping[str, TaskData], skip: int = 0, share: slice = WHOLE
    ) -> Iterator[Batch]:
        """The batches of an epoch: each task in its own random order, tasks in the authors'."""
        order = task_order({name: task.batches for name, task in tasks.items()}, epoch)
        skipped = Counter(order[:skip])
        streams = {
            name: task.epoch(
                np.random.default_rng([self.seed, epoch, position]), skipped[name], share
            )
            for position, (name, task) in enumerate(tasks.items())
        }
        for name in order[skip:]:
            yield next(streams[name])

    def step(self, batch: Batch, number: int) -> tuple[float, int]:
        """One optimiser step with this rank's share of a batch; the whole's loss and examples."""
        if not self.ranks.is_main:
            seed_step(self.seed, self.ranks.rank, number)
        found, examples = self.gradients.compute(batch, number)
        norm = get_total_norm([p.grad for p in self.trained if p.grad is not None])
        self.gradients.check_norm(norm, batch, number)  # clipping by it would spread a NaN to all
        clip_grads_with_norm_(self.trained, self.settings.clip_norm, norm)
        self.optimiser.step()
        self.schedule.step()
        self.bare.technique.stepped(number, self.total_steps)
        self.optimiser.zero_grad(set_to_none=True)
        return found, examples

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on, after any step.

        The main rank's is that of all: the others' random streams follow from seed and step.
        """
        return {
            "trained": trained_state(self.bare),
            "technique": self.bare.technique.training_state(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": random_state(self.accelerator.device),
            "steps_done": self.steps_done,
            "seconds": self.seconds,
            "examples": self.examples,
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Go on where `state_dict` was taken; `source` names it in messages."""
        load_trained_state(self.bare, state["trained"], source)
        self.bare.technique.load_training_state(state["technique"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        set_random_state(state["random"], self.accelerator.device)
        self.steps_done = state["steps_done"]
        self.seconds = state["seconds"]
        self.examples = state["examples"]
