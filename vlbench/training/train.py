"""The training loop, from top to bottom: order of tasks, loss, micro-batches, step, schedule.

One task per batch; every batch of every task once an epoch; the last weights are kept. However a
batch is divided, over micro-batches and over processes, each part's mean loss is weighted by what
the loss is a mean over, examples or target tokens, so that the sum is the whole batch's.

Shapes: B batch, T target tokens, K of them are labels (not -100), V vocabulary.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vlbench.backbones.base import IGNORED
from vlbench.cards.schema import TrainSettings
from vlbench.data.batches import WHOLE, Batch, TaskData, prefetched_for
from vlbench.errors import RunFailed, is_out_of_memory
from vlbench.techniques.adapt import (
    AdaptedModel,
    frozen_in_bf16,
    load_trained_state,
    probe,
    trained_parameters,
    trained_state,
)
from vlbench.tensors import listed, not_finite
from vlbench.training.distributed import Ranks, random_state, seed_step, set_random_state
from vlbench.training.optimiser import OPTIMISERS, linear_schedule, parameter_groups

LOWER_RATE = "A lower rate may help: --set train.learning_rate=..."
MaxBatch = int | Literal["auto"] | None


def task_order(batches: Mapping[str, int], epoch: int) -> list[str]:
    """Return the task of each step of an epoch, from the number of batches of each task.

    As in the authors' code: shuffled with the epoch's number as the seed, read from the end.
    """
    tasks = [task for task, number in batches.items() for _ in range(number)]
    random.Random(epoch).shuffle(tasks)
    return tasks[::-1]


def token_losses(logits: Tensor, target_ids: Tensor) -> Tensor:
    """Cross entropy (B, T) of each target, 0 where ignored, of logits (B, T, V) or (K, V)."""
    is_label = target_ids != IGNORED
    if logits.ndim == 3:
        logits = logits[is_label]
    losses = functional.cross_entropy(logits.float(), target_ids[is_label], reduction="none")
    return losses.new_zeros(target_ids.shape).masked_scatter(is_label, losses)


def loss(logits: Tensor, target_ids: Tensor, scores: Tensor, kind: str) -> Tensor:
    """Return a batch's loss of logits (B, T, V) or (K, V), targets (B, T), scores (B,).

    A mean over all target tokens (COCO captions), or over examples of each one's mean over its
    tokens, weighted by the score of its sampled answer for VQA.
    """
    losses = token_losses(logits, target_ids)  # (B, T)
    labels = target_ids.ne(IGNORED).sum(dim=1)  # (B,)
    if kind == "per-token":
        return losses.sum() / labels.sum().clamp(min=1)
    sums = losses.sum(dim=1)
    if kind == "score-weighted":
        sums = scores.to(losses) * sums
    return (sums / labels.clamp(min=1)).mean()


def weight(target_ids: Tensor, kind: str) -> float:
    """Return what the loss is a mean over, counted in this batch: target tokens or examples."""
    return float(target_ids.ne(IGNORED).sum() if kind == "per-token" else len(target_ids))


class MicroBatches:
    """Micro-batch size: fixed, unlimited, or halved on out-of-memory."""

    def __init__(
        self, max_batch: MaxBatch = None, log: Callable[[str], None] = lambda _: None
    ) -> None:
        self.is_auto = max_batch == "auto"
        self.most = max_batch if isinstance(max_batch, int) else None
        self._log = log

    def of(self, batch: Batch) -> Iterator[Batch]:
        """Split a batch into micro-batches, in the order of its examples."""
        count = len(batch.ids)
        if self.most is None or count <= self.most:
            yield from [batch] if count else []
            return
        for start in range(0, count, self.most):
            yield batch.part(slice(start, start + self.most))

    def compute(self, function: Callable[[Iterator[Batch]], Any], batch: Batch) -> Any:
        """Return `function` of a batch's micro-batches, where memory ends of half as large ones."""
        while True:
            try:
                return function(self.of(batch))
            except (RuntimeError, MemoryError) as error:
                before = min(self.most or len(batch.ids), len(batch.ids))
                if not self.is_auto or before < 2 or not is_out_of_memory(error):
                    raise
            self.most = before // 2
            self._log(
                f"out of memory with {before} examples at once: going on with {self.most}, "
                f"the batch stays {len(batch.ids)}"
            )
            clear_device_cache(garbage_collection=True)  # only now: the error held the activations


class Step(NamedTuple):
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


class Callback(Protocol):
    """Called during training; either method may take the trainer's state."""

    def on_step(self, step: Step) -> None:
        """After every optimiser step."""

    def on_epoch(self, epoch: int) -> None:
        """After every epoch, counted from 1; again when training resumes there."""


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
        micro_batches: MicroBatches | None = None,
    ) -> None:
        self.tasks = {task.card.name: task for task in tasks}
        self.settings = settings
        self.seed = seed
        self.accelerator = accelerator
        self.device = accelerator.device
        self.ranks = ranks or Ranks.of(accelerator)
        self.micro_batches = micro_batches or MicroBatches()
        self.steps_per_epoch = sum(task.batches for task in tasks)
        self.total_steps = self.steps_per_epoch * settings.epochs
        self.bare = model
        groups = parameter_groups(model, settings.weight_decay, model.undecayed())
        self.trained = [p for group in groups for p in group["params"]]
        self.optimiser = OPTIMISERS[settings.optimiser](groups, lr=settings.learning_rate)
        self.schedule = linear_schedule(self.optimiser, self.total_steps, settings.warmup_ratio)
        # Only the model is prepared, and as if for evaluation: moved and cast, but not wrapped in
        # DDP (see distributed.py); a prepared schedule would step once for each rank.
        self.model = accelerator.prepare_model(model, evaluation_mode=True)
        self.steps_done = 0
        self.seconds = 0.0
        self.examples = 0

    @property
    def epochs_done(self) -> int:
        """Completed epochs."""
        return self.steps_done // self.steps_per_epoch

    def start(self, log: Callable[[str], None]) -> None:
        """Let the technique initialise itself from training examples; before the first step."""

        def one_by_one() -> Iterator[Batch]:
            log("initialising from training examples, one by one")
            tasks = {name: copy(task) for name, task in self.tasks.items()}
            for task in tasks.values():
                task.batch_size = 1
            yield from (batch.to(self.device) for batch in self._batches(0, tasks))

        self.bare.technique.start(self.bare.backbone, one_by_one())
        self.ranks.copy_from_main(self.bare)  # sums on GPUs may differ in their last bits

    def train(self, callback: Callback) -> None:
        """Train the remaining steps."""
        if self.steps_done and self.steps_done % self.steps_per_epoch == 0:
            self._end_epoch(callback)
        else:
            self.ranks.check_equal(self.bare, f"after step {self.steps_done}")
        while self.steps_done < self.total_steps:
            self.model.train()
            epoch, skip = divmod(self.steps_done, self.steps_per_epoch)
            started = time.perf_counter()  # fetching the batch counts, callbacks do not
            batches = self._batches(epoch, self.tasks, skip, self.ranks.share)
            with self.cast():
                for batch in prefetched_for(self.device, batches):
                    rate = float(self.schedule.get_last_lr()[0])
                    value, examples = self.step(batch, self.steps_done + 1)
                    self.seconds += time.perf_counter() - started
                    self.examples += examples
                    self.steps_done = done = self.steps_done + 1
                    speed = self.examples / self.seconds
                    left = self.seconds * (self.total_steps - done) / done
                    total, task = self.total_steps, batch.task
                    callback.on_step(Step(done, total, epoch + 1, task, value, rate, speed, left))
                    started = time.perf_counter()
            self._end_epoch(callback)

    def cast(self) -> AbstractContextManager[None]:
        """Frozen weights in the card's precision, for training; evaluation is fp32."""
        return frozen_in_bf16(self.bare) if self.settings.precision == "bf16" else nullcontext()

    def _batches(
        self, epoch: int, tasks: Mapping[str, TaskData], skip: int = 0, share: slice = WHOLE
    ) -> Iterator[Batch]:
        """Yield an epoch's batches but the first `skip`; `share` selects this rank's examples."""
        order = task_order({name: task.batches for name, task in tasks.items()}, epoch)
        skipped = Counter(order[:skip])
        streams = {
            name: task.epoch(np.random.default_rng([self.seed, epoch, i]), skipped[name], share)
            for i, (name, task) in enumerate(tasks.items())
        }
        for name in order[skip:]:
            yield next(streams[name])

    def step(self, batch: Batch, number: int) -> tuple[float, int]:
        """Take one optimiser step with this rank's share; return the whole's loss and examples."""
        if not self.ranks.is_main:
            seed_step(self.seed, self.ranks.rank, number)
        value, examples = self.gradient(batch)
        norm = get_total_norm([p.grad for p in self.trained if p.grad is not None])
        self._check_finite(batch, number, value, norm.item())  # clipping would spread a NaN to all
        clip_grads_with_norm_(self.trained, self.settings.clip_norm, norm)
        self.optimiser.step()
        self.schedule.step()
        self.bare.technique.stepped(number, self.total_steps)
        self.optimiser.zero_grad(set_to_none=True)
        return value, examples

    def gradient(self, batch: Batch) -> tuple[float, int]:
        """Leave the whole batch's gradient in the parameters; return its loss and examples."""
        kind = self.tasks[batch.task].card.loss
        own = torch.tensor([weight(batch.target_ids, kind), len(batch.ids)], device=self.device)
        whole, examples = self.ranks.sum(own).tolist()
        state = random_state(self.device) if self.micro_batches.is_auto else None
        backward = partial(self._backward, kind=kind, whole=whole, state=state)
        part, has_penalty = self.micro_batches.compute(backward, batch)
        # A share without examples has no gradients, and only the main rank has the penalty's.
        is_alike = examples >= self.ranks.count and not has_penalty
        value = self.ranks.sum_gradients(self.bare.parameters(), part, is_alike)
        return value.item(), int(examples)

    def _backward(
        self, micro_batches: Iterator[Batch], kind: str, whole: float, state: dict[str, Any] | None
    ) -> tuple[Tensor, bool]:
        """Add up micro-batches' gradients; return this rank's part of the loss.

        A technique's penalty is added once: by the main rank, to its first micro-batch.
        """
        if state:  # another try begins anew and makes the same draws
            self.bare.zero_grad(set_to_none=True)
            set_random_state(state, self.device)
        total = torch.zeros((), device=self.device)
        penalty = to_add = self.bare.technique.penalty()
        for batch in micro_batches:
            share = weight(batch.target_ids, kind) / max(1.0, whole)
            batch = batch.to(self.device)
            with self.accelerator.autocast():
                logits = self.model.label_logits(batch)
            value = loss(logits, batch.target_ids, batch.scores, kind) * share
            total += value.detach()
            if to_add is not None and self.ranks.is_main:
                value, to_add = value + to_add, None
            self.accelerator.backward(value)
        return total, penalty is not None

    def _check_finite(self, batch: Batch, number: int, value: float, norm: float) -> None:
        """Raise RunFailed where loss or gradient are not finite, with what is known of why."""
        if math.isfinite(value) and math.isfinite(norm):
            return
        ids = [name for of_rank in self.ranks.gather(batch.not_finite()) for name in of_rank]
        trained = trained_parameters(self.bare)
        gradients = {name: p.grad for name, p in trained.items() if p.grad is not None}
        tensors = not_finite(trained) or not_finite(gradients)
        why = f"Not finite: {listed(tensors)}. {LOWER_RATE}" if tensors else LOWER_RATE
        if ids:
            why = f"The features of {', '.join(ids[:10])} are not finite numbers."
        raise RunFailed(
            f"Loss {value}, gradient norm {norm} at step {number} (task {batch.task}). {why}"
        )

    def _end_epoch(self, callback: Callback) -> None:
        """Call back after an epoch; random numbers drawn there do not change the training."""
        self.ranks.check_equal(self.bare, f"after epoch {self.epochs_done}")
        tensors = trained_state(self.bare)
        with torch.no_grad():
            for task in self.tasks:
                tensors[f"logits of {task}"] = probe(self.bare, self.bare.backbone, task)
        if names := not_finite(tensors):
            step = self.steps_done
            raise RunFailed(f"Not finite after step {step}: {listed(names)}. {LOWER_RATE}")
        self.model.eval()
        state = random_state(self.device)
        callback.on_epoch(self.epochs_done)
        set_random_state(state, self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest of the training depends on; the main rank's serves all."""
        return {
            "trained": trained_state(self.bare),
            "technique": self.bare.technique.training_state(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": random_state(self.device),
            "steps_done": self.steps_done,
            "seconds": self.seconds,
            "examples": self.examples,
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Resume from `state_dict`; `source` names it in messages."""
        load_trained_state(self.bare, state["trained"], source)
        self.bare.technique.load_training_state(state["technique"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        set_random_state(state["random"], self.device)
        self.steps_done = state["steps_done"]
        self.seconds = state["seconds"]
        self.examples = state["examples"]
